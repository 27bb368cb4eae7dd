"""Tables in the papers' style: methods by setting, ours beside the published numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal

from benchbench.escaping import printable
from benchbench.leaderboard.clearing import share_doubts
from benchbench.leaderboard.extras import is_share
from benchbench.leaderboard.identity import distinct_labels, grouped
from benchbench.leaderboard.layout import Column, Entry, Group, Line, Table
from benchbench.leaderboard.matching import is_regression, same_setting, setting, shown_published
from benchbench.leaderboard.names import defense_label, defense_order, paper_label, setting_label
from benchbench.records import Row

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
) -> tuple[Table, ...]:
    """The tables of a leaderboard that have rows: one of classification and one of regression.

    Arguments are those of `paper_table`; `notes` are added to the last table.
    """
    listed = list(rows)
    tables = [
        paper_table(listed, task=task, published=published, paper=paper, intervals=intervals, extra=extra)
        for task in MEASURES
    ]
    shown = [table for table in tables if table.groups]
    return (*shown[:-1], *(dataclasses.replace(last, notes=(*last.notes, *notes)) for last in shown[-1:]))


def paper_table(
    rows: Iterable[Row],
    *,
    task: Task = "classification",
    published: bool = False,
    paper: str = "neurips2020",
    intervals: bool = False,
    extra: Sequence[str] = (),
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
    """
    chosen = [row for row in share_doubts(rows) if is_regression(row) == (task == "regression")]
    reference = [row for row in chosen if row.source == "published" and row.published_source == paper]
    measured = [row for row in chosen if row.source == "measured"]
    groups_of = grouped(measured, same_setting)
    settings = [groups_of[key] for key in sorted(groups_of, key=repr)]
    if published:
        settings = shown_published(settings, reference, every=not measured)
    extras = [
        Column(key=name, label=name.replace("_", " "), unit="%" if is_share(name) else "", align="right")
        for name in extra
    ]
    columns = (METHOD, *([SOURCE] if published else []), *MEASURES[task], *extras)
    groups = tuple(
        Group(label=label, attributes=setting(rows[0]), lines=_lines(rows, columns, DIGITS[task], intervals))
        for label, rows in zip(_group_labels(settings), settings)
    )
    shown = [row for members in settings for row in members]
    title = _title(shown)
    return Table(title=title, columns=columns, groups=groups, notes=_notes(shown, groups, task, intervals))


def _group_labels(settings: list[list[Row]]) -> list[str]:
    first = [members[0] for members in settings]
    short = [setting_label(row, every_option=False) for row in first]
    every = [setting_label(row, every_option=True) for row in first]
    return [label if short.count(label) == 1 else longer for label, longer in zip(short, every)]


def _lines(rows: list[Row], columns: tuple[Column, ...], digits: int, intervals: bool) -> tuple[Line, ...]:
    ordered = sorted(
        rows, key=lambda row: (defense_order(row)[:3], row.source, row.defense_options, row.seed, row.cell_id)
    )
    labels = distinct_labels(ordered)
    measured = [row for row in ordered if row.source == "measured"]
    best = {column.key: best_shown(measured, column, digits) for column in columns if column.best}
    return tuple(
        Line(
            entries=tuple(_entry(row, column, labels[row.cell_id], best, digits, intervals) for column in columns),
            cell_id=row.cell_id,
            source=row.source,
            status=row.status,
            flags=row.flags,
        )
        for row in ordered
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


def _title(rows: list[Row]) -> str:
    suite = rows[0].suite if rows else "leaderboard"
    profiles = sorted({row.profile for row in rows if row.source == "measured"})
    measured = (
        f"{' and '.join(profiles)} profile" + ("s, apart" if len(profiles) > 1 else "") if profiles else "published"
    )
    return f"{suite}: {measured}"


def _notes(rows: list[Row], groups: tuple[Group, ...], task: Task, intervals: bool) -> tuple[str, ...]:
    notes = []
    if any(entry.best for group in groups for line in group.lines for entry in line.entries):
        notes.append("Bold: best measured value of its group, as shown; ties together; flagged rows do not compete.")
    if intervals:
        notes.append("Brackets: 95% confidence intervals (Wilson for accuracies, bootstrap for Lipschitzness).")
    if {row.source for row in rows} == {"measured", "published"} and {row.profile for row in rows} != {"paper"}:
        notes.append("Published numbers are of the papers' full protocol; other profiles use less data or training.")
    if task == "regression":
        notes.append("MSE: mean squared error; gap: test minus train.")
    return (*notes, *row_notes(rows))


def row_notes(rows: Sequence[Row]) -> tuple[str, ...]:
    """A note with the flags of each flagged row, then one with the error of each failed row."""
    flagged = [f"{FLAGGED} {defense_label(row)}: {printable(', '.join(row.flags))}" for row in rows if row.flags]
    failed = [(defense_label(row), printable(row.error[:200])) for row in rows if row.status == "failed"]
    return (*flagged, *(f"{FAILED} failed: {label}: {error}" for label, error in failed))
