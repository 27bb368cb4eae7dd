"""Tables in the papers' style: methods by setting, ours beside the published numbers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal

import numpy as np

from benchbench.leaderboard.clearing import share_doubts
from benchbench.leaderboard.extras import is_share
from benchbench.leaderboard.identity import distinct_labels
from benchbench.leaderboard.layout import Column, Entry, Group, Line, Table
from benchbench.leaderboard.matching import SAME_SETTING, regressions, same_setting, setting, shown_published
from benchbench.leaderboard.names import defense_label, defense_order, paper_label, printable, setting_label
from benchbench.records import Row, Rows, groups
from benchbench.records.arrays import Array

Task = Literal["classification", "regression"]

METHOD = Column(key="defense", label="training method")
SOURCE = Column(key="reference", label="source")
FLAGGED, FAILED = "†", "‡"


def _percent(key: str, label: str, best: Literal["highest", "lowest"]) -> Column:
    return Column(key=key, label=label, unit="%", align="right", best=best)


def _plain(key: str, label: str) -> Column:
    return Column(key=key, label=label, align="right", best="lowest")


MEASURES: dict[Task, tuple[Column, ...]] = {
    "classification": (
        _percent("train_accuracy", "train accuracy", "highest"),
        _percent("test_accuracy", "test accuracy", "highest"),
        _percent("adv_test_accuracy", "adv. test accuracy", "highest"),
        _plain("test_lipschitz", "test Lipschitz"),
        _percent("gap", "gap", "lowest"),
        _percent("adv_gap", "adv. gap", "lowest"),
    ),
    "regression": (
        _plain("train_mse", "train MSE"),
        _plain("test_mse", "test MSE"),
        _plain("adv_test_mse", "adv. test MSE"),
        _plain("test_lipschitz", "test Lipschitz"),
        _plain("gap", "gap"),
        _plain("adv_gap", "adv. gap"),
    ),
}
DIGITS: dict[Task, int] = {"classification": 2, "regression": 4}


def paper_tables(
    rows: Iterable[Row],
    *,
    published: bool = False,
    paper: str = "neurips2020",
    intervals: bool = False,
    extra: Sequence[str] = (),
    notes: Sequence[str] = (),
    most: int | None = None,
) -> tuple[Table, ...]:
    """The tables of a leaderboard that have rows: one of classification and one of regression.

    Arguments are those of `paper_table`; `notes` are added to the last table.
    """
    shared = share_doubts(rows)
    made = partial(_table, shared, published=published, paper=paper, intervals=intervals, extra=extra, most=most)
    shown = [table for task in MEASURES if (table := made(task=task)).groups]
    return (*shown[:-1], *(dataclasses.replace(last, notes=(*last.notes, *notes)) for last in shown[-1:]))


def paper_table(
    rows: Iterable[Row],
    *,
    task: Task = "classification",
    published: bool = False,
    paper: str = "neurips2020",
    intervals: bool = False,
    extra: Sequence[str] = (),
    most: int | None = None,
) -> Table:
    """One line per training method in the papers' order; everything in a group is comparable.

    Groups never mix profiles, subsets, attacks or training budgets. A published number is shown in each group of its setting,
    with its source; the notes say when the profiles differ. Without rows of the task, the table has no groups.

    Args:
        rows: of a leaderboard, measured and published.
        task: whether to show accuracies or squared errors.
        published: whether to show the published numbers.
        paper: which paper's numbers: ``"neurips2020"`` or ``"arxiv-v1"``.
        intervals: whether the text shows 95% intervals; the entries always hold them.
        extra: names of values in the rows' `extra` that get a last column each; none of them is marked best.
        most: measured lines to make, of the first groups; None for all. `Table.left_out` counts the others.
    """
    shared = share_doubts(rows)
    return _table(shared, task=task, published=published, paper=paper, intervals=intervals, extra=extra, most=most)


def _table(
    rows: Rows, *, task: Task, published: bool, paper: str, intervals: bool, extra: Sequence[str], most: int | None
) -> Table:
    """`paper_table` of rows with shared doubts."""
    chosen = rows.where(regressions(rows) == (task == "regression"))
    measured = chosen.where(chosen.having("source", "measured"))
    reference = chosen.where(chosen.having("source", "published") & chosen.having("published_source", paper))
    settings = _settings(measured, list(reference) if published else ())
    columns = (METHOD, *([SOURCE] if published else []), *MEASURES[task], *map(_extra_column, extra))
    size = sum(len(one.places) + len(one.published) for one in settings)
    left = size if most is None else most
    unread = iter(measured.take(np.concatenate([one.places for one in settings] or [np.arange(0)])))
    made, flagged, failed = [], list[str](), list[str]()
    for label, one in zip(_group_labels([one.first for one in settings]), settings):
        if left <= 0:
            break
        ordered = sorted([*islice(unread, len(one.places)), *one.published], key=_order)
        lines = _lines(ordered, left, columns, DIGITS[task], intervals)
        made.append(Group(label=label, attributes=setting(one.first), lines=lines))
        flagged += flag_notes(ordered[:left])
        failed += failure_notes(ordered[:left])
        left -= len(lines)
    return Table(
        title=_title(settings, measured),
        columns=columns,
        groups=tuple(made),
        notes=(*_notes(settings, made, task, intervals), *flagged, *failed),
        left_out=0 if most is None else max(0, size - most),
    )


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """The rows of one group: a row, the places of all measured ones, and the published ones."""

    first: Row
    places: Array
    published: Sequence[Row] = ()


def _settings(measured: Rows, published: Sequence[Row]) -> list[_Setting]:
    """The settings in order; published ones without measured rows only if no row is measured."""
    found = groups(measured.codes(*SAME_SETTING))
    firsts = measured.take([places[0] for places in found])
    ours = sorted(zip(firsts, found), key=lambda pair: repr(same_setting(pair[0])))
    beside, rest = shown_published([row for row, _ in ours], published, every=not ours)
    return [
        *(_Setting(first=row, places=places, published=more) for (row, places), more in zip(ours, beside)),
        *(_Setting(first=group[0], places=np.arange(0), published=group) for group in rest),
    ]


def _extra_column(name: str) -> Column:
    return Column(key=name, label=name.replace("_", " "), unit="%" if is_share(name) else "", align="right")


def _group_labels(first: list[Row]) -> list[str]:
    short = [setting_label(row, every_option=False) for row in first]
    counts = Counter(short)
    return [label if counts[label] == 1 else setting_label(row, every_option=True) for row, label in zip(first, short)]


def _order(row: Row) -> tuple[object, ...]:
    return (defense_order(row)[:3], row.source, row.defense_options, row.seed, row.cell_id)


def _lines(rows: list[Row], most: int, columns: tuple[Column, ...], digits: int, intervals: bool) -> tuple[Line, ...]:
    """The first lines of a group, whose labels and best values are those among all of its rows."""
    labels = distinct_labels(rows)
    measured = [row for row in rows if row.source == "measured"]
    best = {column.key: best_shown(measured, column, digits) for column in columns if column.best}
    return tuple(
        Line(
            entries=tuple(_entry(row, column, labels[row.cell_id], best, digits, intervals) for column in columns),
            cell_id=row.cell_id,
            source=row.source,
            status=row.status,
            flags=row.flags,
        )
        for row in rows[:most]
    )


def best_shown(rows: Sequence[Row], column: Column, digits: int) -> float | None:
    """The best value as shown; not of flagged or failed rows, and not of a single row."""
    found = [getattr(row, column.key) for row in rows if row.status == "ok" and not row.flags]
    values = [float(shown(value, column, digits)) for value in found if value is not None]
    if len(values) < 2:
        return None
    return max(values) if column.best == "highest" else min(values)


def _entry(row: Row, column: Column, label: str, best: dict[str, float | None], digits: int, intervals: bool) -> Entry:
    if column.key == "defense":
        return Entry(value=label, text=marked(label, row))
    if column.key == "reference":
        paper = f"{paper_label(row.published_source)}, table {row.published_table}"
        text = "ours" if row.source == "measured" else paper
        return Entry(value=text, text=text)
    value: float | None = getattr(row, column.key, row.extra.get(column.key))
    if value is None:
        return Entry(value=None, text="failed" if row.status == "failed" else "-")
    low, high = getattr(row, f"{column.key}_low", None), getattr(row, f"{column.key}_high", None)
    text = shown(value, column, digits)
    competes = row.source == "measured" and row.status == "ok" and not row.flags
    is_best = competes and best.get(column.key) == float(text)
    if intervals and low is not None and high is not None:
        text += f" [{shown(low, column, digits)}, {shown(high, column, digits)}]"
    return Entry(value=value, text=text, best=is_best, low=low, high=high)


def marked(label: str, row: Row) -> str:
    """A label with the mark of a failed or flagged row."""
    return f"{label} {FAILED if row.status == 'failed' else FLAGGED if row.flags else ''}".strip()


def shown(value: float, column: Column, digits: int) -> str:
    """A value in the unit of its column, rounded; zero has no sign."""
    text = f"{100 * value if column.unit == '%' else value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _title(settings: Sequence[_Setting], measured: Rows) -> str:
    suite = settings[0].first.suite if settings else "leaderboard"
    profiles = sorted(profile for (profile,) in measured.distinct("profile")[0])
    stated = (
        f"{' and '.join(profiles)} profile" + ("s, apart" if len(profiles) > 1 else "") if profiles else "published"
    )
    return f"{suite}: {stated}"


def _notes(settings: Sequence[_Setting], made: Sequence[Group], task: Task, intervals: bool) -> tuple[str, ...]:
    notes = []
    if any(entry.best for group in made for line in group.lines for entry in line.entries):
        notes.append("Bold: best measured value of its group, as shown; ties together; flagged rows do not compete.")
    if intervals:
        notes.append("Brackets: 95% confidence intervals (Wilson for accuracies, bootstrap for Lipschitzness).")
    published = [row for one in settings for row in one.published]
    ours = [one.first for one in settings if len(one.places)]
    if published and ours and {row.profile for row in (*ours, *published)} != {"paper"}:
        notes.append("Published numbers are of the papers' full protocol; other profiles use less data or training.")
    if task == "regression":
        notes.append("MSE: mean squared error; gap: test minus train.")
    return tuple(notes)


def row_notes(rows: Sequence[Row]) -> tuple[str, ...]:
    """A note with the flags of each flagged row, then one with the error of each failed row."""
    return (*flag_notes(rows), *failure_notes(rows))


def flag_notes(rows: Sequence[Row]) -> list[str]:
    """A note with the flags of each flagged row."""
    return [f"{FLAGGED} {defense_label(row)}: {printable(', '.join(row.flags))}" for row in rows if row.flags]


def failure_notes(rows: Sequence[Row]) -> list[str]:
    """A note with the error of each failed row."""
    failed = [(defense_label(row), printable(row.error[:200])) for row in rows if row.status == "failed"]
    return [f"{FAILED} failed: {label}: {error}" for label, error in failed]
