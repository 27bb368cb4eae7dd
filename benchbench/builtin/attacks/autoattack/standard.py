"""AutoAttack: four attacks in sequence, each on the examples that are not yet fooled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchbench.builtin.attacks.autoattack.apgd import Apgd
from benchbench.builtin.attacks.autoattack.fab import Fab
from benchbench.builtin.attacks.autoattack.square import Square
from benchbench.builtin.attacks.autoattack.standing import Standing
from benchbench.builtin.attacks.margins import QUEUE_LENGTH
from benchbench.builtin.deferred import Tensor, nn
from benchbench.builtin.options import at_least, require_norm
from benchbench.contract import Attack, KeyedGenerator, Threat, full_precision, is_rounded, require

CLIMBS, AFTER_CLIMBS = ("apgd-ce", "apgd-t"), ("fab-t", "square")
PRECISE = ("apgd-ce", "apgd-t", "fab-t")  # after a rounded search, once more in float32 for all but fooled examples


@dataclass(frozen=True, kw_only=True)
class AutoAttack:
    """Standard AutoAttack (Croce & Hein, ICML 2020), L-inf, L2: pointwise worst of four attacks.

    In this order: Auto-PGD on the cross-entropy, Auto-PGD on the targeted DLR loss, targeted FAB, Square. With fewer classes
    than targets, all wrong classes are targets. With fewer than four classes the targeted DLR loss is not defined; see
    `benchbench.builtin.attacks.autoattack.climb.targeted_dlr` for what replaces it.

    Attributes:
        steps: gradient steps of each run of Auto-PGD and FAB, at least 1; 100 is standard.
        targets: target classes of Auto-PGD and FAB, at least 1; 9 is standard.
        queries: of Square, at least 1; 5,000 is standard.
    """

    steps: int = 100
    targets: int = 9
    queries: int = 5000

    queue_length: ClassVar[int] = QUEUE_LENGTH

    def __post_init__(self) -> None:
        require(at_least(1, steps=self.steps, targets=self.targets, queries=self.queries))

    def attacks(self) -> dict[str, Attack]:
        """The attacks by name, in sequence."""
        return {
            "apgd-ce": Apgd(loss="ce", steps=self.steps),
            "apgd-t": Apgd(loss="dlr-targeted", steps=self.steps, targets=self.targets),
            "fab-t": Fab(steps=self.steps, targets=self.targets),
            "square": Square(queries=self.queries),
        }

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """Propose one candidate per image, in L-inf or L2; see `benchbench.contract.Attack`."""
        require_norm("autoattack", threat)
        if threat.epsilon == 0:
            return images.clone()
        standing, attacks = Standing(model, images, labels), self.attacks()

        def pursue(name: str, rows: Tensor) -> None:
            if len(rows) == 0:
                return
            draws, remaining = generator.child(name).take(rows), images.index_select(0, rows)
            found = attacks[name].perturb(model, remaining, labels[rows], threat=threat, generator=draws)
            standing.offer(rows, found)

        for name in CLIMBS:
            pursue(name, standing.open())
        if is_rounded():
            with full_precision(images.device):
                for name in PRECISE:
                    pursue(name, standing.close())
        for name in AFTER_CLIMBS:
            pursue(name, standing.open())
        return standing.candidates
