"""Auto-PGD (APGD), the parameter-free PGD of AutoAttack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchbench.builtin.attacks.autoattack.climb import Climb, LossName, objective
from benchbench.builtin.attacks.autoattack.standing import Standing
from benchbench.builtin.attacks.margins import QUEUE_LENGTH
from benchbench.builtin.deferred import Tensor, nn, torch
from benchbench.builtin.options import at_least, require_norm
from benchbench.contract import KeyedGenerator, Threat, require, steepest


@dataclass(frozen=True, kw_only=True)
class Apgd:
    """Projected gradient ascent that adapts its step size (Croce & Hein, ICML 2020, section 3).

    Every run starts at a random point on the L-inf or L2 sphere of radius epsilon, clipped to the box. Fooled examples
    leave the batch before the next restart or target.

    Attributes:
        loss: ``"ce"``, the cross-entropy; ``"dlr"``, the difference of logits ratio; ``"dlr-targeted"``, which runs once for
            each of the likeliest wrong classes. The ratio needs three classes, the targeted one four. With three classes the
            targeted ratio has another denominator (see `targeted_dlr`); with two classes both are the margin of logits.
        steps: gradient steps of a run, at least 1.
        restarts: runs for each target, at least 1.
        targets: target classes of ``"dlr-targeted"``, at least 1; all wrong classes if there are fewer.
    """

    loss: LossName = "ce"
    steps: int = 100
    restarts: int = 1
    targets: int = 9

    queue_length: ClassVar[int] = QUEUE_LENGTH

    def __post_init__(self) -> None:
        known = self.loss in ("ce", "dlr", "dlr-targeted")
        checks = {f"loss must be 'ce', 'dlr' or 'dlr-targeted', got {self.loss!r}": known}
        require(checks | at_least(1, steps=self.steps, restarts=self.restarts, targets=self.targets))

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """Propose one candidate per image, in L-inf or L2; see `benchbench.contract.Attack`."""
        require_norm("apgd", threat)
        if threat.epsilon == 0:
            return images.clone()
        standing = Standing(model, images, labels)
        targets = standing.targets(self.targets if self.loss == "dlr-targeted" else 1)
        climb = Climb(model, objective(self.loss), threat=threat, steps=self.steps)
        for rank in range(targets.shape[1]):
            for restart in range(self.restarts):
                draws = generator.child("target", rank, "restart", restart)
                for rows in standing.batches(standing.open()):
                    batch = images.index_select(0, rows)
                    start = sphere_start(batch, threat=threat, generator=draws.take(rows))
                    standing.offer(rows, climb.run(batch, labels[rows], targets[rows, rank], start))
        return standing.candidates


def sphere_start(images: Tensor, *, threat: Threat, generator: KeyedGenerator) -> Tensor:
    """A random point (N, ...) at distance epsilon from each image (N, ...), clipped to the box.

    L-inf: a uniform draw from the cube, scaled to its surface; L2: a uniform direction.
    """
    if threat.norm == "l2":
        return threat.project(images + threat.epsilon * steepest(generator.normal_like(images), "l2"), images)
    noise = generator.uniform_like(images, low=-1.0).flatten(1)
    largest = noise.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(noise.dtype).tiny)
    return threat.project(images + threat.epsilon * (noise / largest).view_as(images), images)
