"""Projected gradient descent (PGD), the attack behind the protocol's accuracies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchbench.builtin.attacks.margins import broadcast, margin
from benchbench.builtin.deferred import Tensor, nn, torch
from benchbench.builtin.options import ascent_checks, at_least
from benchbench.contract import (
    CrossEntropy,
    KeyedGenerator,
    Threat,
    Weighted,
    ascend,
    full_precision,
    replayed,
    require,
    uniform_start,
)


@dataclass(frozen=True, kw_only=True)
class Pgd:
    """Projected steepest ascent on the cross-entropy (Madry et al., 2018).

    Attributes:
        steps: gradient steps, at least 1.
        step_ratio: length of a step as a multiple of epsilon, above 0.
        restarts: independent runs, at least 1; each example keeps the candidate with the largest margin over all of them.
        random_start: start at a uniform draw from the ball; otherwise at the image, where all restarts are equal.
        keep: the ``"last"`` iterate of a run, as the protocol does, or the ``"best"``: the one with the largest margin.
    """

    steps: int = 10
    step_ratio: float = 0.2
    restarts: int = 1
    random_start: bool = True
    keep: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        checks = ascent_checks(steps=self.steps, step_ratio=self.step_ratio) | at_least(1, restarts=self.restarts)
        require(checks | {f"keep must be 'last' or 'best', got {self.keep!r}": self.keep in ("last", "best")})

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """Propose one candidate per image; see `benchbench.contract.Attack`."""

        def search(images: Tensor, labels: Tensor, generator: KeyedGenerator) -> Tensor:
            return self._search(model, images, labels, threat, generator)

        return replayed(search, (images, labels), generator, key=(self, model, threat))

    def _search(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        cross_entropy, strongest = CrossEntropy(labels), _Strongest(images, labels)

        def loss(candidates: Tensor) -> Weighted:
            logits: Tensor = model(candidates)
            if self.keep == "best":
                strongest.offer(candidates.detach(), logits.detach())
            return cross_entropy(logits)

        step_size = self.step_ratio * threat.epsilon
        for restart in range(self.restarts):
            draws = generator.child("restart", restart)
            start = uniform_start(images, threat=threat, generator=draws) if self.random_start else images
            last = ascend(loss, start, images, threat=threat, steps=self.steps, step_size=step_size)
            if self.restarts == 1 and self.keep == "last":
                return last
            with torch.no_grad(), full_precision(images.device):
                strongest.offer(last, model(last))
        return strongest.candidates


class _Strongest:
    """The candidate with the largest margin so far, per example."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.candidates = images.clone()
        self._labels = labels
        self._margins = torch.full(labels.shape, -torch.inf, dtype=images.dtype, device=images.device)

    def offer(self, candidates: Tensor, logits: Tensor) -> None:
        margins = margin(logits, self._labels)
        better = margins > self._margins
        self._margins = torch.where(better, margins, self._margins)
        self.candidates = torch.where(broadcast(better, candidates), candidates, self.candidates)
