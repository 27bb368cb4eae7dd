"""95% confidence intervals of a row's numbers by NumPy alone: machines may lack SciPy.

The numbers equal SciPy's bit by bit (``binomtest(...).proportion_ci(method="wilson")`` and
``bootstrap(method="percentile")``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from benchbench.contract.seeds import derive_seed
from benchbench.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from benchbench.records.arrays import Array

CONFIDENCE = 0.95
_QUANTILE = 1.959963984540054  # of the normal distribution, at (1 + CONFIDENCE) / 2
_RESAMPLES = 2000
_ELEMENTS_AT_ONCE = 50_000  # draws of the bootstrap, which the processor's cache holds


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A closed 95% confidence interval."""

    low: float
    high: float


def accuracy_interval(successes: int, n: int) -> Interval:
    """Wilson's score interval (1927) for `successes` of `n` examples, as fractions in [0, 1]."""
    if not (n >= 1 and 0 <= successes <= n):
        raise DataError(f"an accuracy of {successes} out of {n} examples is impossible")
    share, square = successes / n, _QUANTILE**2
    denominator = 2 * (n + square)
    centre = (2 * n * share + square) / denominator
    half = _QUANTILE / denominator * math.sqrt(4 * n * share * (1 - share) + square)
    return Interval(low=centre - half if successes else 0.0, high=centre + half if successes < n else 1.0)


def mean_interval(values: Sequence[float] | Tensor | Array, seed: int) -> Interval | None:
    """Percentile bootstrap interval of a mean (Efron, 1979; 2,000 resamples); None for n = 1."""
    import numpy as np

    sample = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(sample).all():
        raise DataError("cannot give an interval for values that are not finite")
    if sample.size < 2:
        return None
    return _bootstrap(sample.tobytes(), seed)


@lru_cache(maxsize=64)  # rows of one model under several attacks have the same values
def _bootstrap(content: bytes, seed: int) -> Interval:
    import numpy as np

    sample = np.frombuffer(content)
    rng = np.random.default_rng(derive_seed(seed, "bootstrap"))
    batch = max(1, _ELEMENTS_AT_ONCE // sample.size)
    sizes = [min(batch, _RESAMPLES - done) for done in range(0, _RESAMPLES, batch)]
    means = [sample[rng.integers(0, sample.size, (size, sample.size))].mean(axis=-1) for size in sizes]
    ordered, tail = np.sort(np.concatenate(means)).tolist(), (1 - CONFIDENCE) / 2
    return Interval(low=_quantile(ordered, tail), high=_quantile(ordered, 1 - tail))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Interpolate between the nearest of ordered values, in SciPy's order, to round as it does."""
    place = share * len(ordered) + (1 - share)
    above, part = int(place), place % 1
    return (1 - part) * ordered[above - 1] + part * ordered[above]
