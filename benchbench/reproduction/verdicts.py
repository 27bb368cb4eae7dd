"""Verdicts on published numbers: what each means, and how it is reached."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from benchbench.leaderboard.identity import values
from benchbench.leaderboard.layout import Entry, Table
from benchbench.leaderboard.matching import is_regression
from benchbench.leaderboard.names import contains, joined, searched_in, trained_in
from benchbench.leaderboard.spread import interval_of, prediction_interval
from benchbench.records import Interval, Row

EXACT = "agrees exactly"
AGREES = "agrees"
OUTSIDE = "outside our interval over examples; spread over runs unknown"
UNEQUAL = "other digits; spread over runs unknown"
DIFFERS = "differs"
NOT_COMPARABLE = "not comparable"
FAILED = "failed"
NOT_RUN = "not run"

AGREEING = (EXACT, AGREES)
OPEN = (OUTSIDE, UNEQUAL)
VERDICTS: Mapping[str, str] = MappingProxyType(
    {
        EXACT: "every run of ours rounds to the printed digits",
        AGREES: "the printed value, plus or minus half a unit of its last digit, lies in our interval: with one run the 95% "
        "interval over examples, with several runs the 95% prediction interval of a further run",
        OUTSIDE: "we have one run, and the printed value is not in its interval. Another run may be as far away, so this "
        "decides nothing",
        UNEQUAL: "we have one run without an interval, or several runs without spread, and other digits than printed. This "
        "decides nothing",
        DIFFERS: "the printed value lies outside the prediction interval (which happens to one number in twenty of the same "
        "method), or, where nothing is random, has other digits",
        NOT_COMPARABLE: "ours used other data or training",
        FAILED: "our run failed",
        NOT_RUN: "we have not measured it",
    }
)
"""What verdicts mean. A number with several of our rows has the first of their verdicts."""

_METHOD = ("defense", "train_norm", "train_epsilon")
_LINE = 24  # characters of a line of a verdict, to fit a column of numbers
_ROUNDING = 1e-9  # of the last printed digit, for numbers that end in 5


def judge_values(ours: Sequence[float], theirs: float, *, step: float, interval: Interval | None = None) -> str:
    """A verdict on a number that depends on chance, from the value of each run of ours.

    Under the same method, the published run is one more run like ours: it lies in the prediction interval of one further run
    with a probability of 95%. The printed value is at most half a unit (`step`) of the last digit away from it. So the
    interval, widened by that much at both ends, holds the printed value at least as often. A single run has its 95% `interval`
    over examples.
    """
    half = step * (0.5 + _ROUNDING)
    if np.abs(np.subtract(ours, theirs)).max() <= half:
        return EXACT
    several = len(ours) > 1
    found = prediction_interval(ours) if several else interval
    if found is None:
        return UNEQUAL
    if found.low - half <= theirs <= found.high + half:
        return AGREES
    return DIFFERS if several else OUTSIDE


def judge_certain(ours: float, theirs: float, *, step: float) -> str:
    """A verdict on a number that does not depend on chance: whether it has the printed digits."""
    return EXACT if abs(ours - theirs) <= step * (0.5 + _ROUNDING) else DIFFERS


def is_of_method(published: Row, row: Row) -> bool:
    """Whether a row is of a published method; options that the paper omits match any value."""
    alike = values(published, _METHOD) == values(row, _METHOD)
    return alike and contains(row.defense_options, published.defense_options)


def other_budget(row: Row, published: Row) -> str:
    """How a row's sizes or precision fall below a published number's; empty if comparable.

    What the paper does not state agrees with any value.
    """
    pairs = {name: (getattr(row, name), getattr(published, name)) for name in _BUDGET}
    sizes = [
        f"unknown {name}" if ours is None else _BUDGET[name].format(ours, theirs)
        for name, (ours, theirs) in pairs.items()
        if ours != theirs and theirs is not None
    ]
    other = row.checkpoint_selection != published.checkpoint_selection
    weaker = [f"checkpoint selection {row.checkpoint_selection}"] if other else []
    weaker += [f"attacks {searched_in(row)}"] if row.rounding else []
    weaker += [trained_in(row)] if row.train_rounding else []
    if not sizes and not weaker and (row.profile == published.profile or is_regression(row)):
        return ""  # a regression is solved exactly in every profile, so only the data count
    return joined(f"{row.profile} profile", *sizes, *weaker)


_BUDGET = {
    "n_train": "{:,} training examples (paper: {:,})",
    "n_train_evaluated": "{:,} of them evaluated",
    "n_test": "{:,} test examples (paper: {:,})",
    "epochs": "{:,} epochs (paper: {:,})",
}


def judge(runs: Sequence[Row], published: Row, key: str, *, step: float) -> str:
    """The verdict on a published value by our runs under several seeds; empty if not printed."""
    theirs = getattr(published, key)
    if theirs is None:
        return ""
    finished = [run for run in runs if run.status != "failed"]
    if not finished:
        return FAILED
    if other_budget(finished[0], published):
        return NOT_COMPARABLE
    ours = values_of(finished, key)
    if not ours:
        return NOT_RUN
    if is_regression(finished[0]):  # solved on the published draws, without randomness
        return judge_certain(max(ours, key=lambda value: abs(value - theirs)), theirs, step=step)
    return judge_values(ours, theirs, step=step, interval=interval_of(finished[0], key))


def values_of(runs: Iterable[Row], key: str) -> list[float]:
    """A measure (a column) of each run that has it."""
    return [value for run in runs if (value := getattr(run, key)) is not None]


def foremost(given: Iterable[str]) -> str:
    """The first of several verdicts in the order of `VERDICTS`; empty if there are none."""
    return min((verdict for verdict in given if verdict), key=list(VERDICTS).index, default="")


def judged_entry(value: float, interval: Interval | None, verdict: str, show: Callable[[float], str]) -> Entry:
    """A number as `show` prints it, with its interval and its verdict in the lines below."""
    lines = [show(value)]
    if interval is not None:
        lines.append(f"[{show(interval.low)}, {show(interval.high)}]")
    if verdict != NOT_COMPARABLE:  # of which the source of the whole line informs
        lines += textwrap.wrap(verdict, _LINE)
    low, high = (interval.low, interval.high) if interval else (None, None)
    return Entry(value=value, text="\n".join(lines), low=low, high=high, verdict=verdict)


def meanings(table: Table) -> tuple[str, ...]:
    """A note for each verdict in a table, with its meaning."""
    given = {entry.verdict for line in table.lines for entry in line.entries}
    return tuple(f"{verdict}: {meaning}." for verdict, meaning in VERDICTS.items() if verdict in given)


def tally(table: Table) -> Counter[str]:
    """How many published numbers have each verdict; each counts once, with its foremost one."""
    numbers: dict[tuple[str, str], list[str]] = {}
    for line in table.lines:
        for column, entry in zip(table.columns, line.entries):
            if entry.verdict:
                numbers.setdefault((line.reference, column.key), []).append(entry.verdict)
    return Counter(map(foremost, numbers.values()))
