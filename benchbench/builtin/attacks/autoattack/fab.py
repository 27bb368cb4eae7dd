"""The targeted Fast Adaptive Boundary attack (FAB-T), which looks for the closest adversarial example."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.autoattack.apgd import sphere_start
from benchbench.builtin.attacks.autoattack.boundary import BoundaryWalk, Closest
from benchbench.builtin.attacks.autoattack.options import QUEUE_LENGTH, require, require_norm
from benchbench.builtin.attacks.autoattack.standing import Standing, broadcast
from benchbench.builtin.attacks.margins import keep_better
from benchbench.contract import KeyedGenerator, Threat


@dataclass(frozen=True, kw_only=True)
class Fab:
    """Walk along the boundary to each likely wrong class (Croce & Hein, "Minimally distorted Adversarial Examples with a Fast
    Adaptive Boundary Attack", ICML 2020; targets as in AutoAttack), in L-inf or L2.

    The first run of each target starts at the image, restarts at a random point within half of epsilon.

    Attributes:
        steps: steps of a run, at least 1; each takes a gradient and a further forward pass.
        targets: target classes, the likeliest first, at least 1; all wrong classes where there are fewer.
        restarts: runs for each target, at least 1.

    Raises:
        OptionError: for a value out of range.
    """

    steps: int = 100
    targets: int = 9
    restarts: int = 1

    def __post_init__(self) -> None:
        require(
            {
                "steps must be at least 1": self.steps >= 1,
                "targets must be at least 1": self.targets >= 1,
                "restarts must be at least 1": self.restarts >= 1,
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

        An example is done once an adversarial example within epsilon is found. Where the closest one lies outside, its
        projection onto the ball is proposed.

        Raises:
            OptionError: the threat is neither in L-inf nor in L2.
        """
        require_norm("fab", threat)
        if threat.epsilon == 0:
            return images.clone()
        closest = self._search(model, images, labels, threat, generator, enough=threat.epsilon)
        return threat.project(closest.candidates, images)

    def closest(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Closest:
        """The closest adversarial examples over all targets, however far; arguments as for `perturb`.

        Of the threat only norm and box count, and epsilon for the radius of random starts. An image that is misclassified
        is its own closest adversarial example.

        Raises:
            OptionError: the threat is neither in L-inf nor in L2.
        """
        require_norm("fab", threat)
        return self._search(model, images, labels, threat, generator, enough=0.0)

    def _search(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        threat: Threat,
        generator: KeyedGenerator,
        *,
        enough: float,
    ) -> Closest:
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
