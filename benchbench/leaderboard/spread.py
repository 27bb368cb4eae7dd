"""95% intervals of measures, their spread over seeds, and tests between methods.

Spreads and tests assume that independent runs are normal with unknown mean and variance. Runs that all give the same value
show no spread, but further runs may: no interval and no p-value follow from them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchbench.leaderboard.extras import is_share, value_of
from benchbench.leaderboard.matching import is_regression
from benchbench.records import Interval, Row
from benchbench.records.arrays import Array

NO_SPREAD = 1e-9  # of the largest value: differences due to rounding
_UPPER = 0.975  # two-sided, 95%
_LARGEST = 1e150  # variance whose square is a float64
_LIMITS = {field.name: (field.metadata["least"], field.metadata["most"]) for field in dataclasses.fields(Row)}


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean over seeds; sample deviation, if several; 95% t interval of the mean, if they differ.

    Both are None where the squares are beyond float64.
    """

    n: int
    mean: float
    deviation: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class MeanTest:
    """95% interval and two-sided p-value of a difference of means; None where undefined."""

    low: float | None = None
    high: float | None = None
    p_value: float | None = None


def seed_spread(values: Sequence[float], key: str = "") -> Spread:
    """Mean, standard deviation and 95% t interval over at least one seed, one value per seed.

    The interval stays within what the measure `key` can be.
    """
    mean, n = _mean(values), len(values)
    if n < 2:
        return Spread(n=n, mean=mean)
    if not has_spread(values):
        return Spread(n=n, mean=mean, deviation=0.0)
    deviation = math.sqrt(_variance(values))
    if not math.isfinite(deviation):
        return Spread(n=n, mean=mean)
    half = float(quantile(n - 1)) * deviation / math.sqrt(n)
    low, high = map(float, possible(key, mean - half, mean + half))
    return Spread(n=n, mean=mean, deviation=deviation, low=low, high=high)


def prediction_interval(values: Sequence[float], key: str = "") -> Interval | None:
    """95% interval of one further run: mean -+ t s sqrt(1 + 1/n), t of n - 1 degrees of freedom.

    A further run minus the mean of n is normal with variance sigma^2 (1 + 1/n) and independent of s, so that their ratio has
    Student's t distribution (Meeker, Hahn and Escobar, Statistical Intervals, 2nd edition, 2017, chapter 4). None for fewer
    than two seeds, for seeds without spread, and where squares are beyond float64. The ends are `possible` values of `key`.
    """
    n = len(values)
    if n < 2 or not has_spread(values):
        return None
    mean, deviation = _mean(values), math.sqrt(_variance(values))
    half = float(quantile(n - 1)) * deviation * math.sqrt(1 + 1 / n)
    if not math.isfinite(half):
        return None
    low, high = map(float, possible(key, mean - half, mean + half))
    return Interval(low=low, high=high)


def possible(key: str, *ends: Array | float) -> list[Array]:
    """Ends of an interval of a column or a metric's value, within what that can be.

    Student's distribution has no limits, but a share lies in [0, 1], and only gaps are negative.
    """
    least, most = (0.0, 1.0) if is_share(key) else _LIMITS.get(key, (None, None))
    return [np.clip(end, -np.inf if least is None else least, np.inf if most is None else most) for end in ends]


def compare_seeds(first: Sequence[float], second: Sequence[float]) -> MeanTest:
    """Test two methods, with one value per seed, for equal means; equal seeds do not pair them.

    Several runs of both: Welch's t-test (1947). With equal numbers of runs it rejects equal means about as often as it should
    or less; with two against six or more, up to twice as often. One run against several: whether it is a further run of the
    same method, by the prediction interval; this assumes that both methods have the same spread.
    """
    several = [side for side in (first, second) if len(side) > 1]
    if not any(map(has_spread, several)):
        return MeanTest()
    difference, variances = _mean(first) - _mean(second), [_variance(side) for side in several]
    if not all(variance <= _LARGEST for variance in variances):
        return MeanTest()
    if len(several) == 1:
        (runs,) = several
        return _t_test(difference, math.sqrt(variances[0]) * math.sqrt(1 + 1 / len(runs)), len(runs) - 1)
    errors = [variance / len(side) for variance, side in zip(variances, several)]  # squared, of the means
    inverse = sum(error**2 / (len(side) - 1) for error, side in zip(errors, several))
    return _t_test(difference, math.sqrt(sum(errors)), sum(errors) ** 2 / inverse)


def _mean(values: Sequence[float]) -> float:
    with np.errstate(over="ignore"):
        mean = float(np.mean(values))
    return mean if math.isfinite(mean) else float(np.sum(np.divide(values, len(values))))  # a sum beyond float64


def _variance(values: Sequence[float]) -> float:
    """Sample variance; inf or NaN where it is beyond float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.var(values, ddof=1))


def has_spread(values: Sequence[float] | Array) -> bool:
    """Whether values differ by more than rounding."""
    return bool(np.ptp(values) > NO_SPREAD * np.abs(values).max())


def _t_test(difference: float, error: float, degrees: float) -> MeanTest:
    from scipy.special import stdtr

    half = float(quantile(degrees)) * error
    p_value = 2 * float(stdtr(degrees, -abs(difference) / error))
    return MeanTest(low=difference - half, high=difference + half, p_value=p_value)


def quantile(degrees: Array | float) -> Array:
    """Student's t of two-sided 95% intervals: float64, one for each number of degrees."""
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    return np.asarray(stdtrit(degrees, _UPPER))


DIFFERENCES = {  # of two independent shares: the gap's interval follows from theirs
    "gap": ("train_accuracy", "test_accuracy"),
    "adv_gap": ("adv_train_accuracy", "adv_test_accuracy"),
}


def interval_of(row: Row, key: str) -> Interval | None:
    """The 95% interval of a measure (a column) of a measured row; None where there is none.

    Accuracies: Wilson's. Gaps of accuracies: Newcombe's (1998, method 10), from the two Wilson intervals. Lipschitzness and
    mean squared errors: bootstrap over the test examples; a regression's other measures have none.
    """
    if key in DIFFERENCES and not is_regression(row):
        return _difference(row, *DIFFERENCES[key])
    low, high = (value_of(row, f"{key}_{end}") for end in ("low", "high"))
    return None if low is None or high is None else Interval(low=low, high=high)


def _difference(row: Row, minuend: str, subtrahend: str) -> Interval | None:
    names = [f"{share}{end}" for share in (minuend, subtrahend) for end in ("", "_low", "_high")]
    values = [getattr(row, name) for name in names]
    if any(value is None for value in values):
        return None
    low, high = difference_ends(*map(np.asarray, values))
    return Interval(low=float(low), high=float(high))


def difference_ends(
    first: Array, first_low: Array, first_high: Array, second: Array, second_low: Array, second_high: Array
) -> tuple[Array, Array]:
    """The ends of Newcombe's interval of a difference of two shares, of any equal shapes."""
    below = np.hypot(first - first_low, second_high - second)
    above = np.hypot(first_high - first, second - second_low)
    return first - second - below, first - second + above
