"""Projected gradient descent (PGD), the attack that the protocol's accuracies are measured with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from benchbench.builtin.ascent import CrossEntropy, Weighted, ascend, uniform_start
from benchbench.builtin.attacks.margins import margin
from benchbench.contract import KeyedGenerator, OptionError, Threat, full_precision, replayed


@dataclass(frozen=True, kw_only=True)
class Pgd:
    """Projected steepest ascent on the cross-entropy (Madry et al., 2018); 10 steps of epsilon/5 by default.

    Attributes:
        steps: gradient steps, at least 1.
        step_ratio: length of a step as a multiple of epsilon, above 0.
        restarts: independent runs, at least 1; of several, each example keeps the candidate with the largest margin.
        random_start: begin at a uniform draw from the ball; otherwise at the image, where every restart is the same.
        keep: ``"last"`` iterate of a run, the protocol's, or the ``"best"``: the iterate with the largest margin.

    Raises:
        OptionError: for a value out of range.
    """

    steps: int = 10
    step_ratio: float = 0.2
    restarts: int = 1
    random_start: bool = True
    keep: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        checks = {
            "steps must be at least 1": self.steps >= 1,
            "step_ratio must be above 0": self.step_ratio > 0,
            "restarts must be at least 1": self.restarts >= 1,
            "keep must be 'last' or 'best'": self.keep in ("last", "best"),
        }
        broken = [message for message, holds in checks.items() if not holds]
        if broken:
            raise OptionError("; ".join(broken))

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
        if self.restarts == 1 and self.keep == "last":
            return self._run(model, images, labels, threat, generator.child("restart", 0), _Strongest(images, labels))
        strongest = _Strongest(images, labels)
        for restart in range(self.restarts):
            last = self._run(model, images, labels, threat, generator.child("restart", restart), strongest)
            with torch.no_grad(), full_precision(images.device):
                strongest.offer(last, model(last))
        return strongest.candidates

    def _run(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        threat: Threat,
        generator: KeyedGenerator,
        strongest: _Strongest,
    ) -> Tensor:
        """One run from one start; returns its last iterate and, with ``keep="best"``, offers the others."""

        cross_entropy = CrossEntropy(labels)

        def loss(candidates: Tensor) -> Weighted:
            logits: Tensor = model(candidates)
            if self.keep == "best":
                strongest.offer(candidates.detach(), logits.detach())
            return cross_entropy(logits)

        start = uniform_start(images, threat=threat, generator=generator) if self.random_start else images
        step_size = self.step_ratio * threat.epsilon
        return ascend(loss, start, images, threat=threat, steps=self.steps, step_size=step_size)


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
        shape = (-1,) + (1,) * (candidates.dim() - 1)
        self.candidates = torch.where(better.view(shape), candidates, self.candidates)
