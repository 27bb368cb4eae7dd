"""Empirical local Lipschitzness: how much the logits change within the ball, relative to the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from benchbench.builtin.ascent import ascend, uniform_start
from benchbench.contract import Evidence, KeyedGenerator, Measurement, OptionError, Threat

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
        last, best = torch.cat(batches, dim=1).double().cpu()
        columns = {name: last, f"{name}_best": best}
        return Measurement(values=self.summarise(columns), per_example=columns)

    def summarise(self, per_example: Mapping[str, Tensor]) -> dict[str, float]:
        """The mean of each column; see `benchbench.contract.ExamplewiseMetric`."""
        return {f"test_{name}": float(ratios.mean()) for name, ratios in per_example.items()}

    def _estimate(self, model: nn.Module, images: Tensor, threat: Threat, generator: KeyedGenerator) -> Tensor:
        """Ratios at the last and at the best iterate, float (2, N)."""
        ratio = _Ratio(model, images, self.variant)
        equation = self.variant == "equation"
        last = ascend(
            ratio.ascent if equation else ratio.descent,
            uniform_start(images, threat=threat, generator=generator)
            if equation
            else _released_start(images, generator),
            images,
            threat=threat,
            steps=self.steps,
            step_size=EQUATION_STEP_RATIO * threat.epsilon if equation else RELEASED_STEP,
        )
        with torch.no_grad():
            return torch.stack([ratio(last), ratio.best])


class _Ratio:
    """||f(x) - f(x')||_1 / ||x - x'||_inf for each example, and the largest one seen."""

    def __init__(self, model: nn.Module, images: Tensor, variant: Literal["equation", "released"]) -> None:
        self._model = model
        self._images = images
        self._distance = _distance if variant == "equation" else _released_distance
        with torch.no_grad():
            self._logits = model(images)
        self.best = images.new_zeros(len(images))

    def __call__(self, candidates: Tensor) -> Tensor:
        logits: Tensor = self._model(candidates)
        ratio: Tensor = (logits - self._logits).abs().sum(dim=1) / self._distance(self._images - candidates)
        self.best = torch.maximum(self.best, ratio.detach())
        return ratio

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
