"""95% confidence intervals of what a row reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchbench.contract.seeds import derive_seed
from benchbench.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

CONFIDENCE = 0.95
_RESAMPLES = 2000
_ELEMENTS_AT_ONCE = 2_000_000  # bounds the memory of the bootstrap to some tens of megabytes


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A closed 95% confidence interval."""

    low: float
    high: float


def accuracy_interval(successes: int, n: int) -> Interval:
    """Wilson's score interval for an accuracy (Wilson, 1927), as fractions in [0, 1].

    Args:
        successes: examples predicted correctly, in [0, n].
        n: examples evaluated, at least 1.

    Raises:
        DataError: for impossible counts.
    """
    from scipy.stats import binomtest

    if not (n >= 1 and 0 <= successes <= n):
        raise DataError(f"an accuracy of {successes} out of {n} examples is impossible")
    interval = binomtest(successes, n).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return Interval(low=float(interval.low), high=float(interval.high))


def mean_interval(values: Sequence[float] | Tensor | Any, seed: int) -> Interval | None:
    """Percentile bootstrap interval for a mean (Efron, 1979; 2,000 resamples), deterministic.

    Args:
        values: finite numbers (N,), one per example.
        seed: of the run; it keys the resamples.

    Returns:
        None for fewer than two values, which have no spread.

    Raises:
        DataError: for values that are not finite.
    """
    import numpy as np
    from scipy.stats import bootstrap

    sample = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(sample).all():
        raise DataError("cannot give an interval for values that are not finite")
    if sample.size < 2:
        return None
    result = bootstrap(
        (sample,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(1, _ELEMENTS_AT_ONCE // sample.size),
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(derive_seed(seed, "bootstrap")),
    )
    interval = result.confidence_interval
    return Interval(low=float(interval.low), high=float(interval.high))
