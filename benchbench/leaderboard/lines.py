"""The lines of a table from columns of rows; no row becomes an object."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from benchbench.leaderboard.identity import labels_within
from benchbench.leaderboard.layout import Column, Entry, Line
from benchbench.leaderboard.names import paper_label
from benchbench.records import Row, Rows
from benchbench.records.arrays import Array

FLAGGED, FAILED = "†", "‡"
_COLUMNS = frozenset(field.name for field in dataclasses.fields(Row))


def lines_of(
    rows: Rows, group: Array, columns: Sequence[Column], digits: int, *, intervals: bool, most: int
) -> list[Line]:
    """The first lines of a table; labels and best values are those among all rows of their groups.

    Args:
        rows: in the order of the lines.
        group: int64 (n,), the number of each row's group, increasing.
        columns: of the table.
        digits: of the numbers' text.
        intervals: whether the text shows 95% intervals.
        most: lines to make.
    """
    entries = []
    for column in columns:
        if column.key == "defense":
            entries.append(_labels(rows, group, most))
        elif column.key == "reference":
            entries.append(_references(rows[:most]))
        else:
            entries.append(_measures(rows, group, column, digits, intervals=intervals, most=most))
    facts = (rows[:most].values(name) for name in ("cell_id", "source", "status", "flags"))
    return [
        Line(entries=found, cell_id=cell_id, source=source, status=status, flags=tuple(flags))
        for found, cell_id, source, status, flags in zip(zip(*entries), *facts)
    ]


def marked(label: str, status: str, flagged: object) -> str:
    """A label with the mark of a failed or flagged row."""
    return f"{label} {FAILED if status == 'failed' else FLAGGED if flagged else ''}".strip()


def shown(value: float, column: Column, digits: int) -> str:
    """A value in the unit of its column, rounded; zero has no sign."""
    text = f"{100 * value if column.unit == '%' else value:.{digits}f}"
    return text[1:] if text[0] == "-" and float(text) == 0 else text


def _labels(rows: Rows, group: Array, most: int) -> list[Entry]:
    labels, facts = labels_within(rows, group.tolist()), zip(rows.values("status"), rows.flagged.tolist())
    return [
        Entry(value=label, text=marked(label, status, flagged))
        for label, (status, flagged), _ in zip(labels, facts, range(most))
    ]


def _references(rows: Rows) -> list[Entry]:
    found, places = rows.distinct("source", "published_source", "published_table")
    texts = [
        "ours" if source == "measured" else f"{paper_label(paper)}, table {number}" for source, paper, number in found
    ]
    return [Entry(value=texts[place], text=texts[place]) for place in places.tolist()]


def _measures(rows: Rows, group: Array, column: Column, digits: int, *, intervals: bool, most: int) -> list[Entry]:
    key = column.key
    of_metric = key not in _COLUMNS
    values = [dict(extra).get(key) for extra in rows.values("extra")] if of_metric else rows.values(key)
    texts = ["" if value is None else shown(value, column, digits) for value in values]
    best = _best(rows, group, column, texts) if column.best else [False] * len(texts)
    lows, highs = (
        rows.values(name) if (name := f"{key}_{end}") in _COLUMNS else [None] * len(texts) for end in ("low", "high")
    )
    entries = []
    for value, text, is_best, low, high, status, _ in zip(
        values, texts, best, lows, highs, rows.values("status"), range(most)
    ):
        if value is None:
            entries.append(Entry(value=None, text="failed" if status == "failed" else "-"))
            continue
        if intervals and low is not None and high is not None:
            text += f" [{shown(low, column, digits)}, {shown(high, column, digits)}]"
        entries.append(Entry(value=value, text=text, best=is_best, low=low, high=high))
    return entries


def _best(rows: Rows, group: Array, column: Column, texts: Sequence[str]) -> list[bool]:
    """Whether each text shows the best value of its group; not of a flagged, failed or single row."""
    competing = rows.having("source", "measured") & rows.having("status", "ok") & ~rows.flagged
    values = np.array([float(text) if text else np.nan for text in texts])
    values[~competing] = np.nan
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    if not len(starts):
        return []
    best = (np.fmax if column.best == "highest" else np.fmin).reduceat(values, starts)
    best[np.add.reduceat(np.isfinite(values), starts, dtype=int) < 2] = np.nan
    return np.equal(values, np.repeat(best, np.diff([*starts, len(values)]))).tolist()
