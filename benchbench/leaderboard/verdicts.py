"""Whether a published number stands up: every verdict, what it means, and how it is reached."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from benchbench.leaderboard.layout import Table
from benchbench.leaderboard.spread import prediction_interval
from benchbench.records import Interval

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
        AGREES: "the printed value, give or take half a unit of its last digit, lies in our interval: of one run the 95% "
        "interval over examples, of several the 95% prediction interval of a further run",
        OUTSIDE: "we have one run, and the printed value is not in its interval. Another run may be as far away, so this "
        "decides nothing",
        UNEQUAL: "the same, where one run has no interval or several runs show no spread",
        DIFFERS: "the printed value lies outside the prediction interval (which happens to one number in twenty of the same "
        "method), or, where nothing is random, has other digits",
        NOT_COMPARABLE: "ours used other data or training",
        FAILED: "our run failed",
        NOT_RUN: "we have not measured it",
    }
)
"""What each verdict means. A number that several of our rows are held against has the first of their verdicts."""

_LINE = 24  # characters of a verdict beside a number
_ROUNDING = 1e-9  # of the last printed digit, for numbers that end in 5


def judge_values(ours: Sequence[float], theirs: float, *, step: float, interval: Interval | None = None) -> str:
    """A verdict on a number that depends on chance.

    Under the same method, the published run is one more run like ours: it lies in the prediction interval of one further run
    with a chance of 95%. What is printed is at most half a unit of the last digit away from it, so that the interval widened by
    that much at both ends holds the printed value at least as often.

    Args:
        ours: the value of each run.
        theirs: as printed.
        step: one unit of the last printed digit.
        interval: 95% interval over examples; used where there is one run.
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
    """A verdict on a number that does not depend on chance: it has the printed digits or not."""
    return EXACT if abs(ours - theirs) <= step * (0.5 + _ROUNDING) else DIFFERS


def foremost(given: Iterable[str]) -> str:
    """The verdict on a number that has these: the first in the order of `VERDICTS`; empty without any."""
    return min((verdict for verdict in given if verdict), key=list(VERDICTS).index, default="")


def broken(verdict: str) -> list[str]:
    """A verdict in lines that fit a column of numbers; none for an empty one."""
    return textwrap.wrap(verdict, _LINE)


def meanings(table: Table) -> tuple[str, ...]:
    """What the verdicts of a table mean, a note for each that it has."""
    given = {entry.verdict for line in table.lines for entry in line.entries}
    return tuple(f"{verdict}: {meaning}." for verdict, meaning in VERDICTS.items() if verdict in given)


def tally(table: Table) -> Counter[str]:
    """How many published numbers have each verdict; every number counts once, whatever stands beside it."""
    numbers: dict[tuple[str, str], list[str]] = {}
    for line in table.lines:
        for column, entry in zip(table.columns, line.entries):
            if entry.verdict:
                numbers.setdefault((line.reference, column.key), []).append(entry.verdict)
    return Counter(map(foremost, numbers.values()))
