"""What a finding compares: contrasts within settings, under each seed.

A contrast is for instance the mean over AT, RST and TRADES minus the mean over the other methods, in one setting under one
seed. A finding consists of one or several steps, such as from one beta to the next, each with its contrasts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from statistics import fmean

from benchbench.cell.filters import parse_options
from benchbench.cell.model import to_json
from benchbench.contract.columns import FILLABLE
from benchbench.leaderboard.identity import ATTACK, DEFENSE, RUNS, SETTING, grouped, values
from benchbench.leaderboard.matching import is_regression
from benchbench.records import Row
from benchbench.suite import Filter, Finding

_TELL_APART = {
    "architecture": ("architecture", "architecture_options", "dropout"),
    "defense": DEFENSE,
    "attack": ATTACK,
}
_METHOD = ("defense", "defense_options")
_UNDER_ATTACK = ("adv_train_accuracy", "adv_test_accuracy", "adv_gap", "adv_test_mse")
_LARGEST = 1e100  # beyond it, sums of squares are not finite
_FEWEST_RANKED = 4  # models of a setting whose ranks may correlate


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A difference or rank correlation in one setting, or one pair, under one seed."""

    setting: Hashable
    seed: int
    effect: float
    exact: bool = False  # whether nothing in it is random


Steps = list[list[Contrast]]
_Found = Iterator[tuple[Hashable, Contrast]]  # with its step
_Valued = Sequence[tuple[Row, float]]


def contrasts(finding: Finding, measure: str, rows: Iterable[Row]) -> Steps:
    """The contrasts of a finding about rows for one measure; none if no rows can be compared."""
    chosen = [row for row in rows if is_chosen(row, finding.where)]
    valued = [(row, value) for row in chosen if (value := _value(finding, row, measure)) is not None]
    found = _correlations(finding, valued) if finding.against else _between_groups(finding, valued)
    return [[contrast for _, contrast in step] for step in grouped(found, lambda one: one[0]).values()]


def is_chosen(row: Row, wanted: Filter) -> bool:
    """Whether a row passes a filter; options that a paper omits match any value."""
    return all(any(_matches(row, column, choice) for choice in choices) for column, choices in wanted.items())


def _matches(row: Row, column: str, choice: object) -> bool:
    if not isinstance(choice, Mapping):
        return bool(getattr(row, column) == choice)
    known = {**parse_options(getattr(row, f"{column}_options", "") or "{}"), "name": getattr(row, column)}
    omitted = row.source == "published"
    return all(known.get(name, value if omitted else None) == value for name, value in choice.items())


def _measured(row: Row, name: str) -> float | None:
    """A measure of a row; None without a usable one, or if a flag says that the attack was weak."""
    value: float | None = getattr(row, name) if name in FILLABLE else row.extra.get(name)
    if value is None or abs(value) > _LARGEST or (row.flags and name in _UNDER_ATTACK):
        return None
    return value


def _value(finding: Finding, row: Row, measure: str) -> float | None:
    """A measure of a row less `minus`, of ratios the logarithm; None if the row has none."""
    known = [_measured(row, name) for name in (measure, finding.minus) if name]
    found = [value for value in known if value is not None and (value > 0 or not finding.ratio)]
    if len(found) < len(known):
        return None
    value, *minus = map(math.log, found) if finding.ratio else found
    return value - sum(minus)


def _between_groups(finding: Finding, valued: _Valued) -> _Found:
    """Neighbouring groups, or values of an option, in each setting, or all else being equal."""
    apart = {name for group in finding.groups for key in group for name in _TELL_APART.get(key, (key,))}
    apart |= {"defense_options"} if finding.option else set()
    columns = [name for name in (SETTING if finding.groups and not finding.paired else RUNS) if name not in apart]
    tests = [partial(is_chosen, wanted=group) for group in finding.groups] or _strengths(finding.option, valued)
    for key, members in grouped(valued, lambda one: _key(one[0], columns, finding.option)).items():
        groups = [[one for one in members if test(one[0])] for test in tests] or [members]
        if len(groups) == 1 and groups[0] and not finding.option:  # one value of an option is no step
            yield "", _contrast(key, groups[0])
        for place, pair in enumerate(pairwise(groups)):
            for below, above in product(*(_parts(finding, group) for group in pair)):
                names = [values(one[0][0], _METHOD) for one in (below, above) if finding.every]
                yield (place, *names), _contrast(key, above, below)


def _key(row: Row, columns: Sequence[str], option: str = "") -> tuple[Hashable, int]:
    """Equal for rows that are compared: columns, the seed, and if an option is given the others."""
    others = {
        name: value for name, value in parse_options(row.defense_options or "{}").items() if option and name != option
    }
    return (values(row, columns), to_json(others)), row.seed or 0


def _strengths(option: str, valued: _Valued) -> list[Callable[[Row], bool]]:
    """A test for each value of an option of the training method, in increasing order."""
    found = {row.defense_options: parse_options(row.defense_options or "{}").get(option) for row, _ in valued}
    known = sorted({value for value in found.values() if isinstance(value, (int, float))})
    return [lambda row, value=value: found[row.defense_options] == value for value in known]  # type: ignore[misc]


def _parts(finding: Finding, members: _Valued) -> Iterable[_Valued]:
    """A group whole, or by training method if every one counts."""
    return grouped(members, lambda one: values(one[0], _METHOD) if finding.every else ()).values()


def _contrast(key: tuple[Hashable, int], above: _Valued, below: _Valued = ()) -> Contrast:
    """The mean of some rows, minus that of others if there are any."""
    effect = fmean(value for _, value in above) - (fmean(value for _, value in below) if below else 0.0)
    return Contrast(setting=key[0], seed=key[1], effect=effect, exact=is_regression(above[0][0]))


def _correlations(finding: Finding, valued: _Valued) -> _Found:
    """Spearman's rank correlation between the models of each setting."""
    for key, members in grouped(valued, lambda one: _key(one[0], SETTING)).items():
        known = [(one, other) for row, one in members if (other := _measured(row, finding.against)) is not None]
        if (correlation := rank_correlation(known)) is not None:
            yield "", _contrast(key, [(members[0][0], correlation)])


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation; None of fewer than four pairs, or where one side is constant."""
    from scipy.stats import spearmanr

    if len(pairs) < _FEWEST_RANKED or any(len(set(column)) < 2 for column in zip(*pairs)):
        return None
    return float(spearmanr([one for one, _ in pairs], [other for _, other in pairs]).statistic)
