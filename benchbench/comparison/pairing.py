"""Compare models on the same examples: McNemar, bootstrap, permutation, Holm's correction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from benchbench.comparison.contenders import Contender, on_common_examples
from benchbench.contract.seeds import derive_seed
from benchbench.errors import UsageError
from benchbench.leaderboard.identity import BALL
from benchbench.leaderboard.spread import Spread, compare_seeds, has_spread, seed_spread
from benchbench.records import mean_interval
from benchbench.records.arrays import Array

SIGNIFICANCE = 0.05
_PERMUTATIONS = 9999
_ELEMENTS_AT_ONCE = 2_000_000
Test = Literal["McNemar", "permutation", "t over seeds"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How two models differ in a measure."""

    models: tuple[str, str]
    measure: str
    first: float  # value of the first model: a fraction, ratio or squared error
    second: float
    difference: float  # first minus second
    low: float | None  # 95% interval: paired bootstrap over examples, or t over seeds; None where undefined
    high: float | None
    test: Test
    p_value: float | None  # two-sided, of no difference; None where runs without spread allow no test
    adjusted: float | None  # by Holm's correction over all tests of one comparison
    n: int  # examples, or seeds of the model with fewer
    seeds: tuple[int, int] = (1, 1)

    @property
    def significant(self) -> bool:
        """Whether the adjusted p-value is below 0.05."""
        return self.adjusted is not None and self.adjusted < SIGNIFICANCE


def compare(
    entries: Mapping[str, Sequence[Contender]], pairs: Sequence[tuple[str, str]] = ()
) -> tuple[Difference, ...]:
    """Compare models (their runs by name) in every common measure, under common attacks.

    All `pairs` of names are compared by default; Holm's correction is over all pairs and measures. Two models without common
    examples, ball or attack, and one model on both sides are a UsageError.
    """
    found: list[Difference] = []
    for one, other in pairs or list(combinations(entries, 2)):
        first, second = _on_common_ground(entries[one], entries[other], (one, other))
        measures = [name for name in first[0].worst if all(name in c.worst for c in (*first, *second))]
        found += [_difference((one, other), name, first, second) for name in measures]
    return adjust(found)


def adjust(found: Sequence[Difference]) -> tuple[Difference, ...]:
    """Differences with p-values adjusted by Holm's correction over all of them."""
    adjusted = iter(holm([one.p_value for one in found if one.p_value is not None]))
    return tuple(one if one.p_value is None else dataclasses.replace(one, adjusted=next(adjusted)) for one in found)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted to control the chance of any false discovery (Holm, 1979), in order.

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
    """Exact two-sided tests between all models (McNemar, 1947; the binomial form).

    Takes bool (models, examples); returns float64 (models, models), 1 on the diagonal.
    """
    from scipy.stats import binom

    right = np.asarray(outcomes, dtype=np.float64)
    only_first = right @ (1.0 - right).T
    discordant = only_first + only_first.T
    p_values = 2.0 * binom.cdf(np.minimum(only_first, only_first.T), discordant, 0.5)
    return np.asarray(np.minimum(p_values, 1.0))


def paired_t_p_values(outcomes: Array) -> Array:
    """Two-sided paired t-tests of the mean between all models, where permutations are too slow.

    Takes float (models, examples); returns float64 (models, models), 1 on the diagonal.
    """
    from scipy.stats import ttest_rel

    p_values = np.ones((len(outcomes), len(outcomes)))
    for first, second in combinations(range(len(outcomes)), 2):
        change = outcomes[first] - outcomes[second]
        if not has_spread(change):  # t is undefined; the chance that random signs are all equal:
            p_value = min(1.0, 2.0 * 0.5 ** np.count_nonzero(change))
        else:
            result = ttest_rel(outcomes[first], outcomes[second])
            p_value = float(result.pvalue)
        p_values[first, second] = p_values[second, first] = p_value
    return p_values


def spreads(found: Sequence[Contender]) -> dict[str, Spread]:
    """Each measure over one method's runs, on common attacks and examples; empty if none."""
    common = frozenset.intersection(*(contender.attacks for contender in found))
    alike = on_common_examples([contender.under(common) for contender in found]) if common else []
    if not alike or not len(alike[0].index):
        return {}
    return {
        measure: seed_spread(_means(alike, measure), measure)
        for measure in alike[0].worst
        if all(measure in contender.worst for contender in alike)
    }


def _on_common_ground(
    first: Sequence[Contender], second: Sequence[Contender], names: tuple[str, str]
) -> tuple[list[Contender], list[Contender]]:
    stated = [one.stated for one in (*first, *second)]
    if differing := [name for name in BALL if len({known[name] for known in stated if name in known}) > 1]:
        raise UsageError(
            f"{names[0]} and {names[1]} cannot be compared: they differ in {', '.join(differing)}",
            hint="name models of one dataset, threat and profile",
        )
    shared = {one.row.model_id for one in first} & {one.row.model_id for one in second}
    if shared and len(first) + len(second) > 2:
        raise UsageError(
            f"{names[0]} and {names[1]} cannot be compared: both contain model {min(shared)}",
            hint="name runs that are on one side only",
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
    if len(first) == len(second) == 1:
        return paired(names, measure, first[0].worst[measure], second[0].worst[measure])
    ours, theirs = _means(first, measure), _means(second, measure)
    found = compare_seeds(ours, theirs)
    return Difference(
        models=names,
        measure=measure,
        first=float(np.mean(ours)),
        second=float(np.mean(theirs)),
        difference=float(np.mean(ours)) - float(np.mean(theirs)),
        low=found.low,
        high=found.high,
        test="t over seeds",
        p_value=found.p_value,
        adjusted=found.p_value,
        n=min(len(ours), len(theirs)),
        seeds=(len(ours), len(theirs)),
    )


def paired(names: tuple[str, str], measure: str, first: Array, second: Array) -> Difference:
    """The difference of two models from their values (n,) on the same examples, bool or float."""
    change = first.astype(np.float64) - second.astype(np.float64)
    interval = mean_interval(change, derive_seed(0, "pair")) if has_spread(change) else None
    by_share = first.dtype == np.bool_
    p_value = float(mcnemar_p_values(np.stack([first, second]))[0, 1]) if by_share else permutation_p_value(change)
    return Difference(
        models=names,
        measure=measure,
        first=float(np.mean(first)),
        second=float(np.mean(second)),
        difference=float(change.mean()),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        test="McNemar" if by_share else "permutation",
        p_value=p_value,
        adjusted=p_value,
        n=len(change),
    )


def _means(runs: Sequence[Contender], measure: str) -> list[float]:
    return [float(np.mean(run.worst[measure])) for run in runs]


def permutation_p_value(change: Array, resamples: int = _PERMUTATIONS) -> float:
    """Two-sided permutation test of mean 0: float (examples,), `resamples` sign flips or all."""
    from scipy.stats import permutation_test

    if len(change) < 2 or not np.any(change):  # with one example both signs give the same statistic
        return 1.0
    result = permutation_test(
        (change, np.zeros_like(change)),
        lambda one, other, axis: np.mean(one - other, axis=axis),
        permutation_type="samples",
        n_resamples=resamples,
        batch=max(1, _ELEMENTS_AT_ONCE // (2 * len(change))),
        vectorized=True,
        rng=np.random.default_rng(derive_seed(0, "permutation")),
    )
    return float(result.pvalue)
