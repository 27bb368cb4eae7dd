"""FAB-T, targeted Fast Adaptive Boundary: a search for the closest adversarial example."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from benchbench.builtin.attacks.autoattack.apgd import sphere_start
from benchbench.builtin.attacks.autoattack.boundary import BoundaryWalk, Closest
from benchbench.builtin.attacks.autoattack.standing import Standing
from benchbench.builtin.attacks.margins import QUEUE_LENGTH, broadcast, keep_better
from benchbench.builtin.deferred import Tensor, nn, torch
from benchbench.builtin.options import at_least, require_norm
from benchbench.contract import KeyedGenerator, Threat, require


@dataclass(frozen=True, kw_only=True)
class Fab:
    """Walk along the boundary to each likely wrong class, in L-inf or L2.

    Croce & Hein, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack", ICML 2020; targets as in
    AutoAttack. The first run of each target starts at the image, restarts start at a random point within half of epsilon.

    Attributes:
        steps: steps of a run, at least 1; each takes a gradient and a further forward pass.
        targets: target classes, the likeliest first, at least 1; all wrong classes if there are fewer.
        restarts: runs for each target, at least 1.
    """

    steps: int = 100
    targets: int = 9
    restarts: int = 1

    queue_length: ClassVar[int] = QUEUE_LENGTH

    def __post_init__(self) -> None:
        require(at_least(1, steps=self.steps, targets=self.targets, restarts=self.restarts))

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """Propose one candidate per image, in L-inf or L2; see `benchbench.contract.Attack`.

        The search for an image ends with an adversarial example within epsilon. If the closest one lies outside, its
        projection onto the ball is proposed.
        """
        require_norm("fab", threat)
        if threat.epsilon == 0:
            return images.clone()
        closest = self.search(model, images, labels, threat, generator, enough=threat.epsilon)
        return threat.project(closest.candidates, images)

    def search(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        threat: Threat,
        generator: KeyedGenerator,
        *,
        enough: float,
    ) -> Closest:
        """The closest adversarial examples over all targets; a misclassified image is its own.

        Of the threat, only norm and box count, and epsilon for the radius of random starts. The search for an image ends
        with an adversarial example at a distance of at most `enough`; 0 looks for the closest one.
        """
        standing = Standing(model, images, labels)
        targets = standing.targets(self.targets)
        candidates = images.clone()
        distances = images.new_zeros(len(images)).index_fill(0, standing.open(), math.inf)
        walk = BoundaryWalk(model, threat=threat, steps=self.steps, enough=enough)
        for rank in range(targets.shape[1]):
            for restart in range(self.restarts):
                draws = generator.child("target", rank, "restart", restart)
                for rows in standing.batches((distances > enough).nonzero()[:, 0]):
                    batch = images.index_select(0, rows)
                    start = _random_start(batch, distances[rows], threat, draws.take(rows)) if restart else batch
                    found = walk.run(batch, labels[rows], targets[rows, rank], start)
                    closer = found.distances < distances[rows]
                    keep_better(candidates, rows, closer, found.candidates)
                    keep_better(distances, rows, closer, found.distances)
        return Closest(candidates=candidates, distances=distances)


def _random_start(images: Tensor, distances: Tensor, threat: Threat, generator: KeyedGenerator) -> Tensor:
    """A random point at half of epsilon, or of the distance already found if that is less."""
    share = 0.5 * (distances / threat.epsilon).clamp(max=1.0) if threat.epsilon > 0 else torch.zeros_like(distances)
    far = sphere_start(images, threat=threat, generator=generator)
    return images + broadcast(share, images) * (far - images)
