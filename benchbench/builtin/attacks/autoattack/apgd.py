"""Auto-PGD (APGD), the parameter-free PGD of AutoAttack."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.builtin.ascent import steepest
from benchbench.builtin.attacks.autoattack.climb import Climb
from benchbench.builtin.attacks.autoattack.objectives import LossName, objective
from benchbench.builtin.attacks.autoattack.options import QUEUE_LENGTH, require, require_norm
from benchbench.builtin.attacks.autoattack.standing import Standing
from benchbench.contract import KeyedGenerator, Threat


@dataclass(frozen=True, kw_only=True)
class Apgd:
    """Projected gradient ascent that adapts its own step size (Croce & Hein, ICML 2020, section 3), in L-inf or L2.

    Every run starts at a random point on the sphere of radius epsilon, clipped to the box. An example that is fooled leaves
    the batch; restarts and further targets are spent on the others.

    Attributes:
        loss: ``"ce"``, the cross-entropy; ``"dlr"``, the difference of logits ratio; ``"dlr-targeted"``, which runs once for
            each of the likeliest wrong classes. The ratio needs three classes, the targeted one four. With three classes
            the targeted ratio has another denominator (see `targeted_dlr`), with two both are the plain margin of logits.
        steps: gradient steps of a run, at least 1.
        restarts: runs for each target, at least 1.
        targets: target classes of ``"dlr-targeted"``, at least 1; all wrong classes where there are fewer.

    Raises:
        OptionError: for a value out of range.
    """

    loss: LossName = "ce"
    steps: int = 100
    restarts: int = 1
    targets: int = 9

    def __post_init__(self) -> None:
        require(
            {
                "loss must be 'ce', 'dlr' or 'dlr-targeted'": self.loss in ("ce", "dlr", "dlr-targeted"),
                "steps must be at least 1": self.steps >= 1,
                "restarts must be at least 1": self.restarts >= 1,
                "targets must be at least 1": self.targets >= 1,
            }
        )

    @property
    def queue_length(self) -> int:
        """How many examples it likes in one call."""
        return QUEUE_LENGTH

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """Propose one candidate per image; see `benchbench.contract.Attack`.

        Raises:
            OptionError: the threat is neither in L-inf nor in L2.
        """
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
    """A random point at distance epsilon from each image, clipped to the box.

    Args:
        images: float (N, ...).
        threat: ball and box; L-inf or L2.
        generator: one row per image.

    Returns:
        float (N, ...): for L-inf a uniform draw from the cube scaled to its surface, for L2 a uniform direction.
    """
    if threat.norm == "l2":
        return threat.project(images + threat.epsilon * steepest(generator.normal_like(images), "l2"), images)
    noise = generator.uniform_like(images, low=-1.0).flatten(1)
    largest = noise.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(noise.dtype).tiny)
    return threat.project(images + threat.epsilon * (noise / largest).view_as(images), images)
