"""The lines of a table from columns of rows; no row becomes an object."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from benchbench.leaderboard.challenges import CHALLENGED
from benchbench.leaderboard.identity import labels_within
from benchbench.leaderboard.layout import Column, Entry, Line
from benchbench.leaderboard.names import paper_label
from benchbench.records import Row, Rows
from benchbench.records.arrays import Array

FLAGGED, FAILED, DISPUTED = "†", "‡", "§"
_COLUMNS = frozenset(field.name for field in dataclasses.fields(Row))


def lines_of(
    rows: Rows, group: Array, columns: Sequence[Column], digits: int, *, intervals: bool, most: int
) -> list[Line]:
    """The first `most` lines of a table, in the rows' order; numbers' text has these `digits`.

    Labels and best values are those among all rows of their groups, which int64 (n,) `group` numbers, increasing.
    """
    entries = []
    with collector_paused():
        for column in columns:
            if column.key == "defense":
                entries.append(_labels(rows, group, most))
            elif column.key == "reference":
                entries.append(_references(rows[:most]))
            else:
                entries.append(_measures(rows, group, column, digits, intervals=intervals, most=most))
        facts = (rows[:most].values(name) for name in ("cell_id", "source", "status"))
        return list(map(Line, zip(*entries), *facts, map(tuple, rows[:most].values("flags"))))


@contextmanager
def collector_paused() -> Iterator[None]:
    """A million tuples are in no cycles; to look for some takes as long as to make them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def marked(label: str, status: str, flagged: object, disputed: object = False) -> str:
    """A label with the marks of a failed, flagged or challenged row."""
    return (
        f"{label} {FAILED if status == 'failed' else FLAGGED if flagged else ''}{DISPUTED if disputed else ''}".strip()
    )


def shown(value: float, column: Column, digits: int) -> str:
    """A value in the unit of its column, rounded; zero has no sign."""
    return _texts([value], column, digits)[0]


def _texts(values: Iterable[float], column: Column, digits: int) -> list[str]:
    scale, form = 100 if column.unit == "%" else 1, f".{digits}f"
    texts = [format(scale * value, form) for value in values]
    return [text[1:] if text[0] == "-" and float(text) == 0 else text for text in texts]


def _labels(rows: Rows, group: Array, most: int) -> list[Entry]:
    labels = labels_within(rows, group.tolist())
    disputed = [CHALLENGED in dict(extra) for extra in rows[:most].values("extra")]
    marks = map(marked, labels, rows.values("status"), rows.flagged.tolist(), disputed)
    return list(map(Entry, labels[:most], marks))


def _references(rows: Rows) -> list[Entry]:
    found, places = rows.distinct("source", "published_source", "published_table")
    texts = ["ours" if source == "measured" else f"{paper_label(paper)}, table {n}" for source, paper, n in found]
    return [Entry(value=texts[place], text=texts[place]) for place in places.tolist()]


def _measures(rows: Rows, group: Array, column: Column, digits: int, *, intervals: bool, most: int) -> list[Entry]:
    key, nothing = column.key, [None] * len(rows)
    values = rows.values(key) if key in _COLUMNS else [dict(extra).get(key) for extra in rows.values("extra")]
    numbers = iter(_texts([value for value in values if value is not None], column, digits))
    missing = ("failed" if status == "failed" else "-" for status in rows.values("status"))
    texts = [instead if value is None else next(numbers) for value, instead in zip(values, missing)]
    best = _best(rows, group, column, values, texts) if column.best else [False] * len(texts)
    low, high = (rows.values(name) if (name := f"{key}_{end}") in _COLUMNS else nothing for end in ("low", "high"))
    ends: list[tuple[float | None, float | None]] = [
        (None, None) if one is None else pair for one, pair in zip(values, zip(low, high))
    ]
    if intervals:
        known = ([end for end in pair if end is not None] for pair in ends)
        brackets = (f" [{', '.join(_texts(pair, column, digits))}]" if len(pair) == 2 else "" for pair in known)
        texts = [text + bracket for text, bracket in zip(texts, brackets)]
    return list(map(Entry, values[:most], texts, best, *zip(*ends)))


def _best(rows: Rows, group: Array, column: Column, values: Sequence[float | None], texts: Sequence[str]) -> list[bool]:
    """Whether each text is its group's best; not of a flagged, failed or single row."""
    competing = rows.having("source", "measured") & rows.having("status", "ok") & ~rows.flagged
    shown = np.array([np.nan if value is None else float(text) for value, text in zip(values, texts)])
    shown[~competing] = np.nan
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    if not len(starts):
        return []
    best = (np.fmax if column.best == "highest" else np.fmin).reduceat(shown, starts)
    best[np.add.reduceat(np.isfinite(shown), starts, dtype=int) < 2] = np.nan
    return list(np.equal(shown, np.repeat(best, np.diff([*starts, len(shown)]))).tolist())
