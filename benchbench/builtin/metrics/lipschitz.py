"""Empirical local Lipschitzness: how much the logits change within the ball, relative to the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from benchbench.builtin.ascent import ascend, uniform_start
from benchbench.contract import (
    Evidence,
    KeyedGenerator,
    Measurement,
    OptionError,
    Threat,
    full_precision,
    replayed,
    searching,
)

EQUATION_STEP_RATIO = 0.2  # of epsilon
RELEASED_STEP = 0.003  # whatever epsilon is
RELEASED_START = 0.001  # standard deviation of the start
RELEASED_OFFSET = 1e-6  # added to x - x' in the denominator


@dataclass(frozen=True, kw_only=True)
class LocalLipschitzness:
    """Mean over test examples of max over x' in the ball of ||f(x) - f(x')||_1 / ||x - x'||_inf, f the logits.

    Equation 3 of "A Closer Look at Accuracy vs. Robustness", estimated from below by sign steps. Columns:
    ``test_lipschitz`` from the last iterate, which is the protocol's, and ``test_lipschitz_best`` from the best one; those
    of the released variant are ``test_lipschitz_released`` and ``test_lipschitz_released_best``, so that a cell can have both
    and neither passes for the other.

    Where a run's searches are rounded (``--precision``), so are the steps of the equation's variant; its ratios at the last
    and at the best iterate are float32's all the same. The released variant, which descends to where rounding is all that is
    left of the change, always is float32's.

    Attributes:
        steps: sign steps, at least 1.
        variant: ``"equation"`` starts uniformly in the ball and ascends by steps of epsilon/5; ``"released"``, as the
            paper's code does it, starts at x + 0.001 N(0, 1), steps by 0.003, measures ||x - x' + 1e-6||_inf below the
            line, and, its sign being reversed, descends.

    Raises:
        OptionError: for a value out of range.
    """

    steps: int = 10
    variant: Literal["equation", "released"] = "equation"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise OptionError(f"steps must be at least 1, got {self.steps}")
        if self.variant not in ("equation", "released"):
            raise OptionError(f"variant must be 'equation' or 'released', got {self.variant!r}")

    def measure(self, evidence: Evidence) -> Measurement:
        """Measure it; see `benchbench.contract.Metric`."""
        name = "lipschitz" if self.variant == "equation" else "lipschitz_released"
        batches = [
            self._estimate(evidence.model, images, evidence.threat, generator)
            for images, _, generator in evidence.batches("test", name)
        ]
        last, best = torch.cat(batches, dim=1).cpu().double()
        columns = {name: last, f"{name}_best": best}
        return Measurement(values=self.summarise(columns), per_example=columns)

    def summarise(self, per_example: Mapping[str, Tensor]) -> dict[str, float]:
        """The mean of each column; see `benchbench.contract.ExamplewiseMetric`."""
        return {f"test_{name}": float(ratios.mean()) for name, ratios in per_example.items()}

    def _estimate(self, model: nn.Module, images: Tensor, threat: Threat, generator: KeyedGenerator) -> Tensor:
        """Ratios at the last and at the best iterate, float (2, N)."""

        def search(images: Tensor, generator: KeyedGenerator) -> Tensor:
            return self._search(model, images, threat, generator)

        return replayed(search, (images,), generator, key=(self, model, threat))

    def _search(self, model: nn.Module, images: Tensor, threat: Threat, generator: KeyedGenerator) -> Tensor:
        ratio = _Ratio(model, images, self.variant)
        if self.variant == "released":
            start = _released_start(images, generator)
            last = ascend(ratio.descent, start, images, threat=threat, steps=self.steps, step_size=RELEASED_STEP)
            return ratio.conclude(last)
        start = uniform_start(images, threat=threat, generator=generator)
        step_size = EQUATION_STEP_RATIO * threat.epsilon
        with searching(images.device) as precision:
            ratio.rounded = precision != "float32"
            last = ascend(ratio.ascent, start, images, threat=threat, steps=self.steps, step_size=step_size)
        return ratio.conclude(last)


class _Ratio:
    """||f(x) - f(x')||_1 / ||x - x'||_inf for each example, and the largest one seen.

    Attributes:
        rounded: whether the ratios seen now are too rough to be reported, so that the candidates have to be kept.
    """

    def __init__(self, model: nn.Module, images: Tensor, variant: Literal["equation", "released"]) -> None:
        self._model = model
        self._images = images
        self._distance = _distance if variant == "equation" else _released_distance
        with torch.no_grad():
            self._logits = model(images)
        self._best = images.new_zeros(len(images))
        self._candidates: Tensor | None = None
        self.rounded = False

    def __call__(self, candidates: Tensor) -> Tensor:
        logits: Tensor = self._model(candidates)
        ratio: Tensor = (logits - self._logits).abs().sum(dim=1) / self._distance(self._images - candidates)
        if self.rounded:
            self._keep(candidates.detach(), ratio.detach() > self._best)
        self._best = torch.maximum(self._best, ratio.detach())
        return ratio

    def conclude(self, last: Tensor) -> Tensor:
        """The ratios at the last iterate and the largest ones, in float32, float (2, N)."""
        with torch.no_grad(), full_precision(last.device):
            if self.rounded:
                self.rounded, self._best = False, self._best.zero_()
                if self._candidates is not None:
                    self(self._candidates)
            return torch.stack([self(last), self._best])

    def _keep(self, candidates: Tensor, better: Tensor) -> None:
        kept = self._images if self._candidates is None else self._candidates
        self._candidates = torch.where(better.view(-1, *[1] * (candidates.dim() - 1)), candidates, kept)

    def ascent(self, candidates: Tensor) -> Tensor:
        return self(candidates).sum()

    def descent(self, candidates: Tensor) -> Tensor:
        return -self(candidates).sum()


def _distance(difference: Tensor) -> Tensor:
    """||difference||_inf of each example, float (N,); where x' = x it is tiny instead of 0, which makes the ratio 0.

    Where several coordinates share the maximum, the gradient goes to one of them. Spread over all, it would pull every
    coordinate that has reached the face of the ball, and whose own pull is below average, back inside at each step.
    """
    return difference.abs().flatten(1).max(dim=1).values.clamp(min=torch.finfo(difference.dtype).tiny)


def _released_distance(difference: Tensor) -> Tensor:
    distance: Tensor = torch.linalg.vector_norm((difference + RELEASED_OFFSET).flatten(1), ord=torch.inf, dim=1)
    return distance


def _released_start(images: Tensor, generator: KeyedGenerator) -> Tensor:
    return images + RELEASED_START * generator.normal_like(images)
