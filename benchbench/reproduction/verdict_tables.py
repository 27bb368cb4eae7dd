"""A paper's table with ours beside every published number: value, 95% interval and verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from benchbench.leaderboard.clearing import share_doubts
from benchbench.leaderboard.intervals import bounds, by_seed
from benchbench.leaderboard.layout import Column, Entry, Group, Line, Table
from benchbench.leaderboard.matching import is_of_setting, is_regression, published_setting, same_setting
from benchbench.leaderboard.names import (
    defense_label,
    defense_order,
    distinct_labels,
    paper_label,
    printable,
    published_label,
    trained_in,
)
from benchbench.leaderboard.spread import prediction_interval
from benchbench.leaderboard.tables import DIGITS, FLAGGED, MEASURES, METHOD, SOURCE, Task, best_shown, shown
from benchbench.leaderboard.tables import FAILED as FAILED_MARK
from benchbench.records import Interval, Row
from benchbench.reproduction.papers import PaperTable
from benchbench.reproduction.verdicts import (
    FAILED,
    NOT_COMPARABLE,
    NOT_RUN,
    broken,
    is_of_method,
    judge,
    meanings,
    other_budget,
)

_NOTES = (
    "Brackets: 95% intervals over the evaluated examples (Wilson for accuracies, Newcombe for gaps, bootstrap otherwise); they "
    "do not cover the spread between training runs. Beside a mean over seeds: the 95% prediction interval of a further run.",
    "Bold: best published value of its setting, and best of ours of the same profile and budget; ties together; flagged rows "
    "do not compete.",
)
_STAIRCASE_NOTE = (
    "The data are the published draws, so that agreement means equal digits. Gaps are test minus train; the paper's Table 8 "
    "prints train minus test, turned here."
)


def stands_in(row: Row, paper_table: PaperTable) -> bool:
    """Whether a row holds numbers that a published table gives."""
    return (row.published_source, row.published_table) == (paper_table.paper, paper_table.number)


def comparison_table(rows: Iterable[Row], paper_table: PaperTable) -> Table:
    """Every line of a published table, followed by what we measured for it.

    Rows of other budgets than the paper's (the quick profile) are shown, marked, and never judged.

    Args:
        rows: of a leaderboard, measured and published.
        paper_table: whose ``kind`` is ``"models"`` or ``"staircase"``.
    """
    everything = share_doubts(rows)
    published = [row for row in everything if stands_in(row, paper_table)]
    measured = [row for row in everything if row.source == "measured"]
    task: Task = "regression" if paper_table.kind == "staircase" else "classification"
    columns = (METHOD, SOURCE, *MEASURES[task])
    groups = []
    used: list[Row] = []
    budgets: dict[str, None] = {}
    for setting, members in _settings(published).items():
        ours = [row for row in measured if is_of_setting(members[0], row)]
        used += ours
        budgets |= dict.fromkeys(_budgets(ours, members))
        lines = _Lines(columns, DIGITS[task], paper_table, members, ours)
        groups.append(Group(label=published_label(members[0]), attributes=setting, lines=tuple(lines.all())))
    title = f"{paper_label(paper_table.paper)}, Table {paper_table.number}: {paper_table.caption}"
    notes = _NOTES + ((_STAIRCASE_NOTE,) if task == "regression" else ()) + tuple(budgets) + _remarks(used)
    table = Table(title=title, columns=columns, groups=tuple(groups), notes=notes)
    return dataclasses.replace(table, notes=(*meanings(table), *notes))


def _settings(published: Sequence[Row]) -> dict[tuple[tuple[str, str | float], ...], list[Row]]:
    groups: dict[tuple[tuple[str, str | float], ...], list[Row]] = {}
    for row in published:
        groups.setdefault(published_setting(row), []).append(row)
    return groups


class _Lines:
    """The lines of one setting: each published line, then ours of the same method, then ours of methods not published."""

    def __init__(
        self,
        columns: tuple[Column, ...],
        digits: int,
        paper_table: PaperTable,
        published: Sequence[Row],
        ours: Sequence[Row],
    ) -> None:
        self._columns, self._digits, self._table = columns, digits, paper_table
        self._best = self._best_of([*published, *ours])
        self._published = sorted(published, key=lambda row: defense_order(row)[:3])
        self._ours = sorted(ours, key=lambda row: (defense_order(row), row.profile, row.seed, row.cell_id))
        self._labels = self._labelled(self._ours)
        self._methods = self._labelled([runs[0] for runs in by_seed(self._ours)])

    @staticmethod
    def _labelled(rows: Sequence[Row]) -> dict[str, str]:
        """Labels by cell id, distinct within a profile, which the source column tells."""
        profiles = dict.fromkeys(row.profile for row in rows)
        labels = [distinct_labels([row for row in rows if row.profile == profile]) for profile in profiles]
        return {cell_id: label for found in labels for cell_id, label in found.items()}

    def all(self) -> Iterable[Line]:
        """Line after line."""
        placed: set[str] = set()
        for reference in self._published:
            yield self._line(reference, reference, defense_label(reference), "published")
            matching = [row for row in self._ours if is_of_method(reference, row)]
            placed.update(row.cell_id for row in matching)
            for runs in by_seed(matching):
                yield from self._runs(runs, reference)
            if not matching:
                yield self._absent(reference)
        for row in self._ours:
            if row.cell_id not in placed:
                source = _source(row, self._published[0]) + ", not published"
                yield self._line(row, None, self._labels[row.cell_id], source)

    def _runs(self, runs: Sequence[Row], reference: Row) -> Iterable[Line]:
        """Our runs of one configuration, each on a line; where several are judged, their mean with the verdict below."""
        judged = [row for row in runs if row.status == "ok" and not other_budget(row, reference)]
        together = len(judged) > 1 and not is_regression(reference)
        for row in runs:
            judging = reference if not (together and row in judged) else None
            line = self._line(row, judging, self._labels[row.cell_id], _source(row, reference))
            yield dataclasses.replace(line, reference=reference.cell_id)
        if together:
            yield self._mean(judged, reference)

    def _mean(self, runs: Sequence[Row], reference: Row) -> Line:
        flags = tuple(sorted({flag for run in runs for flag in run.flags}))
        label = f"{self._methods[runs[0].cell_id]} {FLAGGED if flags else ''}".strip()
        source = f"{_source(runs[0], reference)}, {len(runs)} seeds: mean"
        entries = [Entry(value=label, text=label), Entry(value=source, text=source)]
        for column in self._columns[2:]:
            verdict = judge(runs, reference, column.key, step=self._table.step(column.unit))
            found = [value for run in runs if (value := getattr(run, column.key)) is not None]
            entries.append(self._number(found, prediction_interval(found), column, self._digits, verdict))
        return Line(
            entries=tuple(entries),
            cell_id="",
            source="measured",
            status="ok",
            flags=flags,
            reference=reference.cell_id,
        )

    def _best_of(self, rows: Sequence[Row]) -> dict[tuple[tuple[object, ...], str], float | None]:
        """Best value as shown of each budget's rows, by budget and column."""
        budgets: dict[tuple[object, ...], list[Row]] = {}
        for row in rows:
            budgets.setdefault(_budget(row), []).append(row)
        return {
            (budget, column.key): best_shown(members, column, self._digits_of(members[0]))
            for budget, members in budgets.items()
            for column in self._columns
            if column.best
        }

    def _digits_of(self, row: Row) -> int:
        return self._table.decimals if row.source == "published" else self._digits

    def _line(self, row: Row, reference: Row | None, label: str, source: str) -> Line:
        mark = FAILED_MARK if row.status == "failed" else FLAGGED if row.flags else ""
        entries = [
            Entry(value=f"{label} {mark}".strip(), text=f"{label} {mark}".strip()),
            Entry(value=source, text=source),
        ]
        entries += [self._entry(row, reference, column) for column in self._columns[2:]]
        return Line(entries=tuple(entries), cell_id=row.cell_id, source=row.source, status=row.status, flags=row.flags)

    def _absent(self, reference: Row) -> Line:
        label = defense_label(reference)
        entries = [Entry(value=label, text=label), Entry(value="ours", text="ours")]
        for column in self._columns[2:]:
            there = getattr(reference, column.key) is not None
            entries.append(Entry(value=None, text=NOT_RUN if there else "-", verdict=NOT_RUN if there else ""))
        return Line(entries=tuple(entries), cell_id="", source="measured", status=NOT_RUN, reference=reference.cell_id)

    def _entry(self, row: Row, reference: Row | None, column: Column) -> Entry:
        value: float | None = getattr(row, column.key)
        judged = reference is not None and row.source == "measured"
        step = self._table.step(column.unit)
        verdict = judge([row], reference, column.key, step=step) if judged and reference is not None else ""
        if value is None:
            missing = FAILED if row.status == "failed" else "-"
            return Entry(value=None, text=NOT_RUN if verdict == NOT_RUN else missing, verdict=verdict)
        found = bounds(row, column.key)
        interval = None if found.low is None or found.high is None else Interval(low=found.low, high=found.high)
        entry = self._number([value], interval, column, self._digits_of(row), verdict)
        competes = row.status == "ok" and not row.flags
        best = competes and self._best.get((_budget(row), column.key)) == float(entry.text.partition("\n")[0])
        return dataclasses.replace(entry, best=best)

    def _number(
        self, values: Sequence[float], interval: Interval | None, column: Column, digits: int, verdict: str
    ) -> Entry:
        """The mean of one run or several, its interval and the verdict, on a line each."""
        if not values:
            return Entry(value=None, text=verdict or "-", verdict=verdict)
        value = sum(values) / len(values)
        lines = [shown(value, column, digits)]
        if interval is not None:
            lines.append(f"[{', '.join(shown(end, column, self._digits) for end in (interval.low, interval.high))}]")
        lines += broken(verdict) if verdict != NOT_COMPARABLE else []  # the source says that of the whole line
        low, high = (interval.low, interval.high) if interval else (None, None)
        return Entry(value=value, text="\n".join(lines), low=low, high=high, verdict=verdict)


def _budget(row: Row) -> tuple[object, ...]:
    """Equal for rows that may be compared; only these compete for bold."""
    return row.source, *same_setting(row)


def _source(row: Row, reference: Row) -> str:
    profile = printable(", ".join(part for part in (row.profile, row.rounding, trained_in(row)) if part))
    if other_budget(row, reference):
        return f"ours, {profile}: {NOT_COMPARABLE}"
    return "ours" if row.profile == reference.profile else f"ours, {profile}: same budget"


def _budgets(rows: Sequence[Row], published: Sequence[Row]) -> tuple[str, ...]:
    """What rows that are not comparable used instead of the paper's data and training, once each."""
    references = [(row, reference) for row in rows for reference in published[:1]]
    told = dict.fromkeys(printable(budget) for pair in references if (budget := other_budget(*pair)))
    return tuple(f"Not comparable: {budget}." for budget in told)


def _remarks(rows: Sequence[Row]) -> tuple[str, ...]:
    flagged = [f"{FLAGGED} {defense_label(row)}: {printable(', '.join(row.flags))}" for row in rows if row.flags]
    failed = [
        f"{FAILED_MARK} failed: {defense_label(row)}: {printable(row.error[:200])}"
        for row in rows
        if row.status == "failed"
    ]
    seeing = any(row.trained_on != "train" for row in rows)
    return (*flagged, *failed, *(["These models were trained on the TEST SET, too."] if seeing else []))
