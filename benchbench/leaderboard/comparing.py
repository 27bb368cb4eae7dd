"""A paper's table with ours beside every published number: value, 95% interval and verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from benchbench.leaderboard.clearing import share_doubts
from benchbench.leaderboard.comparison import bounds, is_of_method, judge, other_budget
from benchbench.leaderboard.layout import Column, Entry, Group, Line, Table
from benchbench.leaderboard.matching import is_of_setting, published_setting
from benchbench.leaderboard.names import (
    defense_label,
    defense_order,
    distinct_labels,
    paper_label,
    printable,
    published_label,
    trained_in,
)
from benchbench.leaderboard.papers import PaperTable
from benchbench.leaderboard.tables import (
    DIGITS,
    FAILED,
    FLAGGED,
    MEASURES,
    METHOD,
    SOURCE,
    Task,
    best_shown,
    shown,
)
from benchbench.records import Row

NOT_RUN, NOT_COMPARABLE = "not run", "not comparable"
_NOTES = (
    "Brackets: 95% intervals over the evaluated examples (Wilson for accuracies, Newcombe for gaps, bootstrap otherwise). "
    "They do not cover the spread between training runs: the paper reports one run, as do we for each seed.",
    "agrees exactly: equal to the printed digits; agrees: the printed value, give or take half a unit of its last digit, "
    "lies in our interval; differs: it does not; not comparable: ours used other data or training.",
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
    return Table(title=title, columns=columns, groups=tuple(groups), notes=notes)


def verdicts(table: Table) -> Counter[str]:
    """How often each verdict was given."""
    return Counter(entry.verdict for line in table.lines for entry in line.entries if entry.verdict)


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
        self._labels = {
            cell_id: label
            for profile in {row.profile for row in ours}  # which the source column tells
            for cell_id, label in distinct_labels([row for row in self._ours if row.profile == profile]).items()
        }

    def all(self) -> Iterable[Line]:
        """Line after line."""
        placed: set[str] = set()
        for reference in self._published:
            yield self._line(reference, reference, defense_label(reference), "published")
            matching = [row for row in self._ours if is_of_method(reference, row)]
            placed.update(row.cell_id for row in matching)
            for row in matching:
                yield self._line(row, reference, self._labels[row.cell_id], _source(row, reference))
            if not matching:
                yield self._absent(reference)
        for row in self._ours:
            if row.cell_id not in placed:
                source = _source(row, self._published[0]) + ", not published"
                yield self._line(row, None, self._labels[row.cell_id], source)

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
        mark = FAILED if row.status == "failed" else FLAGGED if row.flags else ""
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
        return Line(entries=tuple(entries), cell_id="", source="measured", status=NOT_RUN)

    def _entry(self, row: Row, reference: Row | None, column: Column) -> Entry:
        value: float | None = getattr(row, column.key)
        step = 10.0**-self._table.decimals * (0.01 if column.unit == "%" else 1.0)
        judged = reference is not None and row.source == "measured"
        verdict = judge(row, reference, column.key, step=step) if judged and reference is not None else ""
        if value is None:
            return Entry(value=None, text="failed" if row.status == "failed" else "-", verdict=verdict)
        interval = bounds(row, column.key)
        lines = [shown(value, column, self._digits_of(row))]
        competes = row.status == "ok" and not row.flags
        best = competes and self._best.get((_budget(row), column.key)) == float(lines[0])
        if interval.low is not None and interval.high is not None:
            low, high = (shown(end, column, self._digits) for end in (interval.low, interval.high))
            lines.append(f"[{low}, {high}]")
        lines += [verdict] if verdict not in ("", NOT_COMPARABLE) else []  # the source says that of the whole line
        text = "\n".join(lines)
        return Entry(value=value, text=text, best=best, low=interval.low, high=interval.high, verdict=verdict)


def _budget(row: Row) -> tuple[object, ...]:
    """Equal for rows of one setting with the same data, training and precision; only these compete for bold."""
    precisions = row.precision, row.train_precision
    return row.source, row.profile, *precisions, row.n_train, row.n_train_evaluated, row.n_test, row.epochs


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
        f"{FAILED} failed: {defense_label(row)}: {printable(row.error[:200])}" for row in rows if row.status == "failed"
    ]
    seeing = any(row.trained_on != "train" for row in rows)
    return (*flagged, *failed, *(["These models were trained on the TEST SET, too."] if seeing else []))
