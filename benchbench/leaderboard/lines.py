"""The lines of a table from columns of rows; no row becomes an object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, repeat

import numpy as np

from benchbench.collector import collector_paused
from benchbench.leaderboard.challenges import CHALLENGED
from benchbench.leaderboard.identity import labels_within
from benchbench.leaderboard.layout import Column, Entry, Line
from benchbench.leaderboard.names import paper_label
from benchbench.leaderboard.runs import Measured, Runs
from benchbench.records import Rows
from benchbench.records.arrays import Array

FLAGGED, FAILED, DISPUTED = "†", "‡", "§"
_LARGE = 1e10  # from here on numbers have an exponent: 1e300 has 301 digits


def lines_of(
    runs: Runs, group: Array, columns: Sequence[Column], digits: int, *, intervals: bool, most: int
) -> list[Line]:
    """The first `most` lines of a table, one for each run; numbers' text has these `digits`.

    Labels and best values are those among all runs of their groups, which int64 (runs,) `group` numbers, increasing.
    """
    if 0 < most < len(runs):  # the groups of these lines suffice
        count = int(np.searchsorted(group, group[most - 1], side="right"))
        runs, group = runs.head(count), group[:count]
    entries = []
    with collector_paused():
        for column in columns:
            if column.key == "defense":
                entries.append(_labels(runs, group)[:most])
            elif column.key == "reference":
                entries.append(_references(runs.first[:most]))
            elif column.key == "seeds":
                entries.append([Entry(value=count, text=str(count)) for count in runs.seeds[:most].tolist()])
            else:
                entries.append(_measures(runs, group, column, digits, intervals=intervals)[:most])
        status = np.where(runs.seeds > 0, "ok", "failed").tolist()
        cells = map(";".join, runs.values("cell_id"))
        flags = (tuple(dict.fromkeys(chain(*found))) for found in runs.values("flags"))
        return list(map(Line, zip(*entries), cells, runs.first.values("source"), status, flags))


def marked(label: str, status: str, flagged: object, disputed: object = False) -> str:
    """A label with the marks of a failed, flagged or challenged row."""
    return (
        f"{label} {FAILED if status == 'failed' else FLAGGED if flagged else ''}{DISPUTED if disputed else ''}".strip()
    )


def shown(value: float, column: Column, digits: int) -> str:
    """A value in the unit of its column, rounded; zero has no sign, a huge one an exponent."""
    return _texts([value], column, digits)[0]


def _texts(values: Iterable[float], column: Column, digits: int) -> list[str]:
    scale, form, large = 100 if column.unit == "%" else 1, f".{digits}f", f".{digits}e"
    texts = [format(scale * value, form if -_LARGE < value < _LARGE else large) for value in values]
    return [text[1:] if text[0] == "-" and float(text) == 0 else text for text in texts]


def _labels(runs: Runs, group: Array) -> list[Entry]:
    labels = labels_within(runs.first, group.tolist())
    status = np.where(runs.any(runs.rows.having("status", "failed")), "failed", "ok").tolist()
    challenged = runs.rows.naming("extra", CHALLENGED)
    marks = (runs.any(runs.rows.flagged).tolist(), runs.any(challenged).tolist())
    return list(map(Entry, labels, map(marked, labels, status, *marks)))


def _references(rows: Rows) -> list[Entry]:
    found, places = rows.distinct("source", "published_source", "published_table")
    texts = ["ours" if source == "measured" else f"{paper_label(paper)}, table {n}" for source, paper, n in found]
    return [Entry(value=texts[place], text=texts[place]) for place in places.tolist()]


def _measures(runs: Runs, group: Array, column: Column, digits: int, *, intervals: bool) -> list[Entry]:
    measured = runs.measured(column.key)
    mean, deviation, low, high = (_known(one) for one in measured)
    numbers = iter(_texts([value for value in mean if value is not None], column, digits))
    missing = np.where(runs.seeds > 0, "-", "failed").tolist()
    texts = [instead if value is None else next(numbers) for value, instead in zip(mean, missing)]
    best = _best(runs, group, column, measured, texts) if column.best else repeat(False, len(texts))
    if np.isfinite(measured.deviation).any():
        spreads = iter(_texts([one for one in deviation if one is not None], column, digits))
        texts = [text if one is None else f"{text} ± {next(spreads)}" for text, one in zip(texts, deviation)]
    if intervals:
        known = ([end for end in pair if end is not None] for pair in zip(low, high))
        brackets = (f" [{', '.join(_texts(pair, column, digits))}]" if len(pair) == 2 else "" for pair in known)
        texts = [text + bracket for text, bracket in zip(texts, brackets)]
    return list(map(Entry, mean, texts, best, low, high, deviation))


def _known(values: Array) -> list[float | None]:
    return [value if value == value else None for value in values.tolist()]  # NaN is not equal to itself


def _best(runs: Runs, group: Array, column: Column, measured: Measured, texts: Sequence[str]) -> list[bool]:
    """Whether each run has its group's best mean, or an interval that overlaps the best one's.

    Flagged and failed runs do not compete, nor does a single one. Without an interval, what is shown is compared.
    """
    rows = runs.rows
    out = runs.any(~rows.having("source", "measured") | ~rows.having("status", "ok") | rows.flagged)
    if not len(out):
        return []
    sign = 1.0 if column.best == "highest" else -1.0
    as_shown = np.array([np.nan if value != value else float(text) for value, text in zip(measured.mean, texts)])
    value, shown_as = (np.where(out, np.nan, sign * one) for one in (measured.mean, as_shown))
    low, high = (np.where(out, np.nan, sign * one) for one in (measured.low, measured.high)[:: int(sign)])
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(starts, append=len(group))
    top = np.repeat(np.fmax.reduceat(value, starts), sizes)
    reached = np.repeat(np.fmax.reduceat(np.where(value == top, low, np.nan), starts), sizes)
    tied = shown_as == np.repeat(np.fmax.reduceat(shown_as, starts), sizes)
    competing = np.repeat(np.add.reduceat(np.isfinite(value), starts, dtype=int), sizes)
    found = (tied | (high >= reached)) & (competing > 1) & np.isfinite(value)
    return [bool(one) for one in found.tolist()]
