"""A paper's table with ours beside every published number: value, 95% interval and verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from benchbench.escaping import printable
from benchbench.leaderboard.clearing import share_doubts
from benchbench.leaderboard.identity import by_seed, distinct_labels, grouped
from benchbench.leaderboard.layout import Column, Entry, Group, Line, Table
from benchbench.leaderboard.lines import FLAGGED, marked, shown
from benchbench.leaderboard.matching import is_of_setting, is_regression, published_setting, same_setting
from benchbench.leaderboard.names import defense_label, defense_order, joined, published_label, trained_in
from benchbench.leaderboard.notes import row_notes
from benchbench.leaderboard.spread import interval_of, prediction_interval
from benchbench.leaderboard.tables import DIGITS, MEASURES, METHOD, SOURCE, Task, best_shown
from benchbench.records import Interval, Row
from benchbench.reproduction import verdicts
from benchbench.reproduction.papers import PaperTable

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
_TEST_SET_NOTE = "These models were trained on the TEST SET, too."


def stands_in(row: Row, paper_table: PaperTable) -> bool:
    """Whether a row holds numbers of a published table."""
    return (row.published_source, row.published_table) == (paper_table.paper, paper_table.number)


def comparison_table(rows: Iterable[Row], paper_table: PaperTable) -> Table:
    """Every line of a published table, then ours; other budgets than the paper's are not judged."""
    everything = share_doubts(rows)
    published = [row for row in everything if stands_in(row, paper_table)]
    measured = [row for row in everything if row.source == "measured"]
    task: Task = "regression" if paper_table.kind == "staircase" else "classification"
    columns = (METHOD, SOURCE, *MEASURES[task])
    groups = []
    used: list[Row] = []
    budgets: dict[str, None] = {}
    for setting, members in grouped(published, published_setting).items():
        ours = [row for row in measured if is_of_setting(members[0], row)]
        used += ours
        budgets |= dict.fromkeys(printable(other) for row in ours if (other := verdicts.other_budget(row, members[0])))
        lines = _Lines(columns, DIGITS[task], paper_table, members, ours)
        groups.append(Group(label=published_label(members[0]), attributes=setting, lines=tuple(lines.all())))
    notes = _NOTES + ((_STAIRCASE_NOTE,) if task == "regression" else ())
    notes += tuple(f"Not comparable: {budget}." for budget in budgets) + row_notes(used)
    notes += (_TEST_SET_NOTE,) if any(row.trained_on != "train" for row in used) else ()
    table = Table(title=paper_table.title, columns=columns, groups=tuple(groups), notes=notes)
    return dataclasses.replace(table, notes=(*verdicts.meanings(table), *notes))


class _Lines:
    """Lines of a setting: published ones, each with ours of its method below; last, our others."""

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
        self._ours = sorted(ours, key=lambda row: (defense_order(row), row.profile, row.seed or 0, row.cell_id))
        self._labels = _labelled(self._ours)
        self._methods = _labelled([runs[0] for runs in by_seed(self._ours)])

    def all(self) -> Iterable[Line]:
        placed: set[str] = set()
        for reference in self._published:
            yield self._line(reference, None, defense_label(reference), "published")
            matching = [row for row in self._ours if verdicts.is_of_method(reference, row)]
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
        """A line per run of a configuration; comparable runs are judged on a last line, their mean."""
        judged = [row for row in runs if row.status == "ok" and not verdicts.other_budget(row, reference)]
        together = len(judged) > 1 and not is_regression(reference)
        for row in runs:
            judging = None if together and row in judged else reference
            line = self._line(row, judging, self._labels[row.cell_id], _source(row, reference))
            yield line._replace(reference=reference.cell_id)
        if together:
            yield self._mean(judged, reference)

    def _mean(self, runs: Sequence[Row], reference: Row) -> Line:
        flags = tuple(sorted({flag for run in runs for flag in run.flags}))
        label = f"{self._methods[runs[0].cell_id]} {FLAGGED if flags else ''}".strip()
        source = f"{_source(runs[0], reference)}, {len(runs)} seeds: mean"
        entries = [Entry(value=label, text=label), Entry(value=source, text=source)]
        for column in self._columns[2:]:
            verdict = verdicts.judge(runs, reference, column.key, step=self._table.step(column.unit))
            found = [value for run in runs if (value := getattr(run, column.key)) is not None]
            mean = sum(found) / len(found) if found else None
            entries.append(self._number(mean, prediction_interval(found), verdict, column, self._digits))
        return _our_line(entries, reference, "ok", flags)

    def _absent(self, reference: Row) -> Line:
        label = defense_label(reference)
        entries = [Entry(value=label, text=label), Entry(value="ours", text="ours")]
        for column in self._columns[2:]:
            verdict = "" if getattr(reference, column.key) is None else verdicts.NOT_RUN
            entries.append(Entry(value=None, text=verdict or "-", verdict=verdict))
        return _our_line(entries, reference, verdicts.NOT_RUN)

    def _best_of(self, rows: Sequence[Row]) -> dict[tuple[tuple[object, ...], str], float | None]:
        """The best value as shown, by budget and column."""
        return {
            (budget, column.key): best_shown(members, column, self._digits_of(members[0]))
            for budget, members in grouped(rows, _budget).items()
            for column in self._columns
            if column.best
        }

    def _digits_of(self, row: Row) -> int:
        return self._table.decimals if row.source == "published" else self._digits

    def _line(self, row: Row, reference: Row | None, label: str, source: str) -> Line:
        label = marked(label, row.status, row.flags)
        entries = [Entry(value=label, text=label), Entry(value=source, text=source)]
        entries += [self._entry(row, reference, column) for column in self._columns[2:]]
        return Line(entries=tuple(entries), cell_id=row.cell_id, source=row.source, status=row.status, flags=row.flags)

    def _entry(self, row: Row, reference: Row | None, column: Column) -> Entry:
        value: float | None = getattr(row, column.key)
        verdict = verdicts.judge([row], reference, column.key, step=self._table.step(column.unit)) if reference else ""
        if value is None:
            missing = verdicts.FAILED if row.status == "failed" else "-"
            return Entry(value=None, text=verdicts.NOT_RUN if verdict == verdicts.NOT_RUN else missing, verdict=verdict)
        entry = self._number(value, interval_of(row, column.key), verdict, column, self._digits_of(row))
        competes = row.status == "ok" and not row.flags
        best = competes and self._best.get((_budget(row), column.key)) == float(entry.text.partition("\n")[0])
        return entry._replace(best=best)

    def _number(
        self, value: float | None, interval: Interval | None, verdict: str, column: Column, digits: int
    ) -> Entry:
        if value is None:
            return Entry(value=None, text=verdict or "-", verdict=verdict)
        return verdicts.judged_entry(value, interval, verdict, lambda number: shown(number, column, digits))


def _labelled(rows: Sequence[Row]) -> dict[str, str]:
    """Labels by cell id, distinct within a profile; the source column shows the profile."""
    labels = [distinct_labels(members) for members in grouped(rows, lambda row: row.profile).values()]
    return {cell_id: label for found in labels for cell_id, label in found.items()}


def _our_line(entries: Sequence[Entry], reference: Row, status: str, flags: tuple[str, ...] = ()) -> Line:
    cell = reference.cell_id
    return Line(entries=tuple(entries), cell_id="", source="measured", status=status, flags=flags, reference=cell)


def _budget(row: Row) -> tuple[object, ...]:
    """Equal for rows that compete for the best value."""
    return row.source, *same_setting(row)


def _source(row: Row, reference: Row) -> str:
    profile = printable(joined(row.profile, row.rounding, trained_in(row)))
    if verdicts.other_budget(row, reference):
        return f"ours, {profile}: {verdicts.NOT_COMPARABLE}"
    return "ours" if row.profile == reference.profile else f"ours, {profile}: same budget"
