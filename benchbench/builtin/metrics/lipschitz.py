"""Empirical local Lipschitzness: change of logits within the ball, relative to the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchbench.builtin.attacks.margins import broadcast
from benchbench.builtin.deferred import Tensor, nn, torch
from benchbench.builtin.options import Variant, at_least, variant_check
from benchbench.contract import (
    Evidence,
    KeyedGenerator,
    Measurement,
    Threat,
    ascend,
    full_precision,
    normal_start,
    replayed,
    require,
    searching,
    uniform_start,
)

EQUATION_STEP_RATIO = 0.2  # of epsilon
RELEASED_STEP = 0.003  # at every epsilon
RELEASED_START = 0.001  # standard deviation of the start
RELEASED_OFFSET = 1e-6  # added to x - x' in the denominator


@dataclass(frozen=True, kw_only=True)
class LocalLipschitzness:
    """Test mean of max over x' in the ball of ||f(x) - f(x')||_1 / ||x - x'||_inf, f the logits.

    Equation 3 of "A Closer Look at Accuracy vs. Robustness", estimated from below by sign steps. Columns:
    ``test_lipschitz`` from the last iterate, as in the protocol, and ``test_lipschitz_best`` from the best one. The released
    variant has its own columns, ``test_lipschitz_released`` and ``test_lipschitz_released_best``, so that a cell can have
    both.

    With ``--precision``, the steps of the equation's variant are rounded, but float32 computes the ratios at the last and at
    the best iterate. The released variant is always computed in float32: it descends to changes as small as rounding errors.

    Attributes:
        steps: sign steps, at least 1.
        variant: ``"equation"`` starts uniformly in the ball and ascends by steps of epsilon/5; ``"released"``, as in the
            paper's code, starts at x + 0.001 N(0, 1), steps by 0.003, divides by ||x - x' + 1e-6||_inf, and descends,
            because its sign is reversed.
    """

    steps: int = 10
    variant: Variant = "equation"

    def __post_init__(self) -> None:
        require(at_least(1, steps=self.steps) | variant_check(self.variant))

    def measure(self, evidence: Evidence) -> Measurement:
        """Measure it; see `benchbench.contract.Metric`."""
        name = "lipschitz" if self.variant == "equation" else "lipschitz_released"

        def search(images: Tensor, generator: KeyedGenerator) -> Tensor:
            return self._search(evidence.model, images, evidence.threat, generator)

        batches = [
            replayed(search, (images,), generator, key=(self, evidence.model, evidence.threat))
            for images, _, generator in evidence.batches("test", name)
        ]
        last, best = torch.cat(batches, dim=1).cpu().double()
        columns = {name: last, f"{name}_best": best}
        return Measurement(values=self.summarise(columns), per_example=columns)

    def summarise(self, per_example: Mapping[str, Tensor]) -> dict[str, float]:
        """The mean of each column; see `benchbench.contract.ExamplewiseMetric`."""
        return {f"test_{name}": float(ratios.mean()) for name, ratios in per_example.items()}

    def _search(self, model: nn.Module, images: Tensor, threat: Threat, generator: KeyedGenerator) -> Tensor:
        """Ratios at the last and at the best iterate, float (2, N)."""
        ratio = _Ratio(model, images, self.variant)
        if self.variant == "released":
            start = normal_start(images, deviation=RELEASED_START, generator=generator)
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

    While `rounded` is set, ratios are too rough to be reported: the best candidates are kept for float32.
    """

    def __init__(self, model: nn.Module, images: Tensor, variant: Variant) -> None:
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
            kept = self._images if self._candidates is None else self._candidates
            better = broadcast(ratio.detach() > self._best, candidates)
            self._candidates = torch.where(better, candidates.detach(), kept)
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

    def ascent(self, candidates: Tensor) -> Tensor:
        return self(candidates).sum()

    def descent(self, candidates: Tensor) -> Tensor:
        return -self(candidates).sum()


def _distance(difference: Tensor) -> Tensor:
    """||difference||_inf per example, float (N,); tiny where x' = x, so that the ratio is 0.

    If several coordinates share the maximum, `max` sends the gradient to one of them. Spread over all of them, it would pull
    coordinates back from the face of the ball at each step if their own gradient is below average.
    """
    return difference.abs().flatten(1).max(dim=1).values.clamp(min=torch.finfo(difference.dtype).tiny)


def _released_distance(difference: Tensor) -> Tensor:
    distance: Tensor = torch.linalg.vector_norm((difference + RELEASED_OFFSET).flatten(1), ord=torch.inf, dim=1)
    return distance
