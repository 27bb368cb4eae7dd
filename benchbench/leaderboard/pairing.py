"""Differences between models on the same examples: exact McNemar tests, paired bootstrap and permutation, Holm's correction."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np

from benchbench.errors import UsageError
from benchbench.leaderboard.contenders import Contender, on_common_examples
from benchbench.records import mean_interval
from benchbench.records.arrays import Array
from benchbench.seeds import derive_seed

SIGNIFICANCE = 0.05
_PERMUTATIONS = 9999
_NO_SPREAD = 1e-9
_ELEMENTS_AT_ONCE = 2_000_000
Test = Literal["McNemar", "permutation", "t over seeds"]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A measure over several seeds.

    Attributes:
        deviation: sample standard deviation; None for one seed.
        low: lower end of the 95% t interval of the mean over seeds; None for one seed.
        high: upper end of it.
    """

    n: int
    mean: float
    deviation: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How two models differ in a measure.

    Attributes:
        first, second: values of both: fractions, ratios or squared errors.
        difference: first minus second.
        low: lower end of its 95% interval (paired bootstrap over examples, or t over seeds); None where none is defined.
        high: upper end of it.
        p_value: two-sided, of no difference.
        adjusted: Holm's, over all tests made together.
        n: examples, or seeds.
    """

    models: tuple[str, str]
    measure: str
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    test: Test
    p_value: float
    adjusted: float
    n: int

    @property
    def significant(self) -> bool:
        """Whether the adjusted p-value is below 0.05."""
        return self.adjusted < SIGNIFICANCE


def compare(
    entries: Mapping[str, Sequence[Contender]], pairs: Sequence[tuple[str, str]] = ()
) -> tuple[Difference, ...]:
    """Compare models in every measure that both have, under the attacks that both have.

    Args:
        entries: name to a model, or to the same model under several seeds.
        pairs: names to compare; all pairs when left out. Holm's correction is over all pairs and measures.

    Raises:
        UsageError: two models were not evaluated on common examples in the same ball, or under no common attack.
    """
    found: list[Difference] = []
    for one, other in pairs or list(combinations(entries, 2)):
        first, second = _on_common_ground(entries[one], entries[other], (one, other))
        measures = [name for name in first[0].worst if all(name in c.worst for c in (*first, *second))]
        found += [_difference((one, other), name, first, second) for name in measures]
    adjusted = holm([difference.p_value for difference in found])
    return tuple(dataclasses.replace(difference, adjusted=p) for difference, p in zip(found, adjusted))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that control the chance of any false discovery (Holm, 1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for place, position in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[position]))
        adjusted[position] = largest
    return adjusted


def mcnemar_p_values(outcomes: Array) -> Array:
    """Exact two-sided McNemar tests between all models (McNemar, 1947; the binomial form).

    Args:
        outcomes: bool (models, examples).

    Returns:
        float64 (models, models), 1 on the diagonal.
    """
    from scipy.stats import binom

    right = np.asarray(outcomes, dtype=np.float64)
    only_first = right @ (1.0 - right).T
    discordant = only_first + only_first.T
    p_values: Any = 2.0 * binom.cdf(np.minimum(only_first, only_first.T), discordant, 0.5)
    return np.asarray(np.minimum(p_values, 1.0))


def paired_t_p_values(outcomes: Array) -> Array:
    """Two-sided paired t-tests of the mean between all models; for many examples, where permutations would take minutes.

    Args:
        outcomes: float (models, examples), for instance squared errors.

    Returns:
        float64 (models, models), 1 on the diagonal.
    """
    from scipy.stats import ttest_rel

    p_values = np.ones((len(outcomes), len(outcomes)))
    for first, second in combinations(range(len(outcomes)), 2):
        change = outcomes[first] - outcomes[second]
        if np.ptp(change) <= _NO_SPREAD * np.abs(change).max():  # but for rounding: the test is not defined
            p_value = float(not change.any())
        else:
            result: Any = ttest_rel(outcomes[first], outcomes[second])
            p_value = float(result.pvalue)
        p_values[first, second] = p_values[second, first] = p_value
    return p_values


def seed_spread(values: Sequence[float]) -> Spread:
    """Mean, standard deviation and 95% t interval of a measure over seeds.

    Args:
        values: one per seed, at least one.
    """
    from scipy.stats import t

    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Spread(n=n, mean=mean)
    deviation = float(np.std(values, ddof=1))
    half = float(t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
    return Spread(n=n, mean=mean, deviation=deviation, low=mean - half, high=mean + half)


def _on_common_ground(
    first: Sequence[Contender], second: Sequence[Contender], names: tuple[str, str]
) -> tuple[list[Contender], list[Contender]]:
    if len({contender.setting for contender in (*first, *second)}) > 1:
        raise UsageError(
            f"{names[0]} and {names[1]} cannot be compared: they differ in profile, data or threat",
            hint="name models of one dataset, threat and profile",
        )
    common = frozenset.intersection(*(contender.attacks for contender in (*first, *second)))
    if not common:
        raise UsageError(f"{names[0]} and {names[1]} were evaluated under no common attack")
    alike = on_common_examples([contender.under(common) for contender in (*first, *second)])
    if not len(alike[0].index):
        raise UsageError(f"{names[0]} and {names[1]} were evaluated on no common test example")
    return alike[: len(first)], alike[len(first) :]


def _difference(
    names: tuple[str, str], measure: str, first: Sequence[Contender], second: Sequence[Contender]
) -> Difference:
    if len(first) > 1 and len(second) > 1:
        return _over_seeds(names, measure, first, second)
    ours, theirs = first[0].worst[measure], second[0].worst[measure]
    change = ours.astype(np.float64) - theirs.astype(np.float64)
    interval = mean_interval(change, derive_seed(0, "pair"))
    is_share = ours.dtype == np.bool_
    p_value = float(mcnemar_p_values(np.stack([ours, theirs]))[0, 1]) if is_share else _permutation(change)
    return Difference(
        models=names,
        measure=measure,
        first=float(np.mean(ours)),
        second=float(np.mean(theirs)),
        difference=float(change.mean()),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        test="McNemar" if is_share else "permutation",
        p_value=p_value,
        adjusted=p_value,
        n=len(change),
    )


def _over_seeds(
    names: tuple[str, str], measure: str, first: Sequence[Contender], second: Sequence[Contender]
) -> Difference:
    """Welch's t-test over seeds: training runs of two methods have nothing in common but the seed's number."""
    from scipy.stats import ttest_ind

    ours, theirs = (np.array([float(np.mean(c.worst[measure])) for c in side]) for side in (first, second))
    change = float(ours.mean() - theirs.mean())
    if ours.std() == theirs.std() == 0:  # no spread at all: the test is not defined
        p_value, low, high = (1.0 if change == 0 else 0.0), change, change
    else:
        result: Any = ttest_ind(ours, theirs, equal_var=False)
        interval = result.confidence_interval(0.95)
        p_value, low, high = float(result.pvalue), float(interval.low), float(interval.high)
    return Difference(
        models=names,
        measure=measure,
        first=float(ours.mean()),
        second=float(theirs.mean()),
        difference=change,
        low=low,
        high=high,
        test="t over seeds",
        p_value=p_value,
        adjusted=p_value,
        n=min(len(ours), len(theirs)),
    )


def _permutation(change: Array) -> float:
    """Two-sided paired permutation test of a zero mean: the signs of the differences are exchanged at random."""
    from scipy.stats import permutation_test

    if not np.any(change):
        return 1.0
    result = permutation_test(
        (change, np.zeros_like(change)),
        lambda one, other, axis: np.mean(one - other, axis=axis),
        permutation_type="samples",
        n_resamples=_PERMUTATIONS,
        batch=max(1, _ELEMENTS_AT_ONCE // (2 * len(change))),
        vectorized=True,
        rng=np.random.default_rng(derive_seed(0, "permutation")),
    )
    return float(result.pvalue)
