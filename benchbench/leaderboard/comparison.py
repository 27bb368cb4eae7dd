"""A measured row against a published one: intervals, and whether the published value lies in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchbench.leaderboard.identity import RUNS, training, values
from benchbench.leaderboard.matching import is_regression
from benchbench.leaderboard.names import contains, trained_in
from benchbench.leaderboard.verdicts import FAILED, NOT_COMPARABLE, NOT_RUN, judge_certain, judge_values
from benchbench.records import Interval, Row

_METHOD = ("defense", "train_norm", "train_epsilon")
_DIFFERENCES = {  # of two independent shares: the gap's interval follows from theirs
    "gap": ("train_accuracy", "test_accuracy"),
    "adv_gap": ("adv_train_accuracy", "adv_test_accuracy"),
}


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """A 95% interval; both None where there is none."""

    low: float | None = None
    high: float | None = None


def bounds(row: Row, key: str) -> Bounds:
    """The 95% interval of a measure.

    Accuracies: Wilson's. Gaps of accuracies: Newcombe's (1998, method 10), from the two Wilson intervals. Lipschitzness and
    mean squared errors: bootstrap over the test examples; a regression's other measures have none.

    Args:
        row: a measured row.
        key: column of the measure.
    """
    if key in _DIFFERENCES and not is_regression(row):
        return _difference(row, *_DIFFERENCES[key])
    low, high = (getattr(row, f"{key}_{end}", row.extra.get(f"{key}_{end}")) for end in ("low", "high"))
    return Bounds(low=low, high=high)


def _difference(row: Row, minuend: str, subtrahend: str) -> Bounds:
    names = [f"{share}{end}" for share in (minuend, subtrahend) for end in ("", "_low", "_high")]
    values = [getattr(row, name) for name in names]
    if any(value is None for value in values):
        return Bounds()
    first, first_low, first_high, second, second_low, second_high = values
    below = math.hypot(first - first_low, second_high - second)
    above = math.hypot(first_high - first, second - second_low)
    return Bounds(low=first - second - below, high=first - second + above)


def is_of_method(published: Row, row: Row) -> bool:
    """Whether a row is of a published number's training method; options that the paper does not state match any value."""
    return values(published, _METHOD) == values(row, _METHOD) and contains(
        row.defense_options, published.defense_options
    )


def other_budget(row: Row, published: Row) -> str:
    """Why a row cannot be held against a published number: what it used less of, or worse; empty when it can."""
    sizes = ("n_train", "n_train_evaluated", "n_test", "epochs")
    differing = [name for name in sizes if getattr(row, name) != getattr(published, name)]
    other = row.checkpoint_selection != published.checkpoint_selection
    weaker = [f"checkpoint selection {row.checkpoint_selection}"] if other else []
    weaker += [f"attacks searched in {row.rounding}"] if row.rounding else []
    weaker += [trained_in(row)] if row.train_rounding else []
    if not differing and not weaker and (row.profile == published.profile or is_regression(row)):
        return ""  # a regression is solved, whatever the profile: the data say all
    told = [f"{_BUDGET[name].format(getattr(row, name))}" for name in differing] + weaker
    return ", ".join([f"{row.profile} profile", *told])


_BUDGET = {
    "n_train": "{:,} training examples",
    "n_train_evaluated": "{:,} of them evaluated",
    "n_test": "{:,} test examples",
    "epochs": "{:,} epochs",
}


def judge(runs: Sequence[Row], published: Row, key: str, *, step: float) -> str:
    """Whether a published value stands up.

    Args:
        runs: measured under one seed or several, of the published number's setting and method, equal but for the seed.
        published: what the paper prints.
        key: column of the measure.
        step: one unit of the last printed digit, in the units of the column.

    Returns:
        One of `benchbench.leaderboard.verdicts`; empty where the paper does not print the measure.
    """
    theirs = getattr(published, key)
    if theirs is None:
        return ""
    finished = [run for run in runs if run.status != "failed"]
    if not finished:
        return FAILED
    if other_budget(finished[0], published):
        return NOT_COMPARABLE
    ours = [value for run in finished if (value := getattr(run, key)) is not None]
    if not ours:
        return NOT_RUN
    if is_regression(finished[0]):  # solved on the published draws: nothing is random
        return judge_certain(max(ours, key=lambda value: abs(value - theirs)), theirs, step=step)
    found = bounds(finished[0], key)
    interval = None if found.low is None or found.high is None else Interval(low=found.low, high=found.high)
    return judge_values(ours, theirs, step=step, interval=interval)


def by_seed(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows that differ in nothing but the seed, together."""
    runs: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        runs.setdefault((*values(row, RUNS), training(row)), []).append(row)
    return list(runs.values())
