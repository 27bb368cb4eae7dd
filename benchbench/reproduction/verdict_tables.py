"""A paper's table with ours beside every published number: value, 95% interval and verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from statistics import fmean

from benchbench.escaping import printable
from benchbench.leaderboard.clearing import share_doubts
from benchbench.leaderboard.identity import by_seed, distinct_labels, grouped
from benchbench.leaderboard.layout import Column, Entry, Group, Line, Table
from benchbench.leaderboard.lines import marked, shown
from benchbench.leaderboard.matching import is_of_setting, is_regression, published_setting, same_setting
from benchbench.leaderboard.names import defense_label, defense_order, joined, published_label, trained_in
from benchbench.leaderboard.notes import row_notes
from benchbench.leaderboard.spread import interval_of, prediction_interval
from benchbench.leaderboard.tables import DIGITS, MEASURES, METHOD, SOURCE, Task
from benchbench.records import Row
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


def comparison_table(rows: Iterable[Row], paper_table: PaperTable, *, each_seed: bool = False) -> Table:
    """Every line of a published table, then ours; other budgets than the paper's are not judged.

    Several seeds have one line, their mean; with `each_seed` also a line each.
    """
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
        lines = _Lines(columns, DIGITS[task], paper_table, members, ours, each_seed)
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
        each_seed: bool,
    ) -> None:
        self._columns, self._digits, self._table, self._each_seed = columns, digits, paper_table, each_seed
        self._published = sorted(published, key=lambda row: defense_order(row)[:3])
        self._ours = sorted(
            ours, key=lambda row: (defense_order(row), row.profile, row.attack_options, row.seed or 0, row.cell_id)
        )
        self._labels = _labelled(self._ours)
        self._methods = _labelled([runs[0] for runs in by_seed(self._ours)])
        competing = map(_each if each_seed else _together, by_seed(self._ours))
        self._best = self._best_of([*_each(self._published), *chain(*competing)])

    def all(self) -> Iterable[Line]:
        placed: set[str] = set()
        for reference in self._published:
            yield self._line([reference], None, defense_label(reference), "published")
            matching = [row for row in self._ours if verdicts.is_of_method(reference, row)]
            placed.update(row.cell_id for row in matching)
            for runs in by_seed(matching):
                yield from self._runs(runs, reference)
            if not matching:
                yield self._absent(reference)
        for runs in by_seed(row for row in self._ours if row.cell_id not in placed):
            yield from self._runs(runs, None)

    def _runs(self, runs: Sequence[Row], reference: Row | None) -> Iterable[Line]:
        """Lines of a configuration's runs, which are judged together."""
        source = _source(runs[0], reference or self._published[0]) + ("" if reference else ", not published")
        for group in _together(runs):
            several = len(group) > 1
            for row in group if self._each_seed or not several else ():
                yield self._line([row], None if several else reference, self._labels[row.cell_id], source)
            if several:
                label = f"{source}, {len(group)} seeds: mean"
                yield self._line(group, reference, self._methods[runs[0].cell_id], label)

    def _line(self, runs: Sequence[Row], reference: Row | None, label: str, source: str) -> Line:
        """A row, or the mean of several; judged if there is a published one."""
        first, flags = runs[0], tuple(sorted({flag for run in runs for flag in run.flags}))
        label = marked(label, first.status, flags)
        entries = [Entry(value=label, text=label), Entry(value=source, text=source)]
        entries += [self._entry(runs, reference, column) for column in self._columns[2:]]
        cell_id = ";".join(run.cell_id for run in runs)
        line = Line(entries=tuple(entries), cell_id=cell_id, source=first.source, status=first.status, flags=flags)
        return line._replace(reference=reference.cell_id) if reference else line

    def _entry(self, runs: Sequence[Row], reference: Row | None, column: Column) -> Entry:
        found = verdicts.values_of(runs, column.key)
        verdict = verdicts.judge(runs, reference, column.key, step=self._table.step(column.unit)) if reference else ""
        if not found:
            missing = verdicts.FAILED if runs[0].status == "failed" else "-"
            return Entry(value=None, text=verdicts.NOT_RUN if verdict == verdicts.NOT_RUN else missing, verdict=verdict)
        digits = self._digits_of(runs[0])
        interval = interval_of(runs[0], column.key) if len(runs) == 1 else prediction_interval(found, column.key)
        entry = verdicts.judged_entry(fmean(found), interval, verdict, lambda number: shown(number, column, digits))
        competes = _competes(runs) and (len(runs) == 1 or not self._each_seed)
        best = competes and self._best.get((_budget(runs[0]), column.key)) == float(entry.text.partition("\n")[0])
        return entry._replace(best=best)

    def _absent(self, reference: Row) -> Line:
        label = defense_label(reference)
        entries = [Entry(value=label, text=label), Entry(value="ours", text="ours")]
        for column in self._columns[2:]:
            verdict = "" if getattr(reference, column.key) is None else verdicts.NOT_RUN
            entries.append(Entry(value=None, text=verdict or "-", verdict=verdict))
        line = Line(entries=tuple(entries), cell_id="", source="measured", status=verdicts.NOT_RUN)
        return line._replace(reference=reference.cell_id)

    def _best_of(self, lines: Sequence[Sequence[Row]]) -> dict[tuple[tuple[object, ...], str], float]:
        """The best value as shown, by budget and column; none where only one line competes."""
        best = {}
        for budget, members in grouped(filter(_competes, lines), lambda runs: _budget(runs[0])).items():
            digits = self._digits_of(members[0][0])
            for column in filter(attrgetter("best"), self._columns):
                means = [fmean(found) for runs in members if (found := verdicts.values_of(runs, column.key))]
                if len(means) > 1:
                    chosen = max if column.best == "highest" else min
                    best[budget, column.key] = chosen(float(shown(mean, column, digits)) for mean in means)
        return best

    def _digits_of(self, row: Row) -> int:
        return self._table.decimals if row.source == "published" else self._digits


def _each(rows: Sequence[Row]) -> list[list[Row]]:
    return [[row] for row in rows]


def _together(runs: Sequence[Row]) -> list[list[Row]]:
    """A configuration's runs as lines show them: each failed one alone, the others as one."""
    finished = [row for row in runs if row.status == "ok"]
    if len(finished) < 2 or is_regression(runs[0]):
        return _each(runs)
    return [*_each([row for row in runs if row.status != "ok"]), finished]


def _competes(runs: Sequence[Row]) -> bool:
    return all(run.status == "ok" and not run.flags for run in runs)


def _labelled(rows: Sequence[Row]) -> dict[str, str]:
    """Labels by cell id, distinct within a profile; the source column shows the profile."""
    labels = [distinct_labels(members) for members in grouped(rows, lambda row: row.profile).values()]
    return {cell_id: label for found in labels for cell_id, label in found.items()}


def _budget(row: Row) -> tuple[object, ...]:
    """Equal for rows that compete for the best value."""
    return row.source, *same_setting(row)


def _source(row: Row, reference: Row) -> str:
    profile = printable(joined(row.profile, row.rounding, trained_in(row)))
    if verdicts.other_budget(row, reference):
        return f"ours, {profile}: {verdicts.NOT_COMPARABLE}"
    return "ours" if row.profile == reference.profile else f"ours, {profile}: same budget"
