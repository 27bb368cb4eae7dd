"""Tables in the papers' style: methods by setting, ours beside the published numbers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np

from benchbench.errors import UsageError, suggest
from benchbench.leaderboard.clearing import share_doubts
from benchbench.leaderboard.extras import is_share
from benchbench.leaderboard.layout import Column, Group, Line, Table
from benchbench.leaderboard.lines import lines_of
from benchbench.leaderboard.matching import SAME_SETTING, regressions, same_setting, setting, shown_published
from benchbench.leaderboard.names import PAPERS, method_order, setting_label
from benchbench.leaderboard.notes import row_notes, table_notes
from benchbench.leaderboard.runs import Runs, runs_of
from benchbench.records import Row, Rows, groups
from benchbench.records.arrays import Array

Task = Literal["classification", "regression"]

SEEDS = Column(key="seeds", label="seeds", align="right")
METHOD = Column(key="defense", label="training method")
SOURCE = Column(key="reference", label="source")
_LAST_FIRST = ("cell_id", "seed", "defense_options", "source")  # orders lines of one method, the last one first


def _percent(key: str, label: str, best: Literal["highest", "lowest"]) -> Column:
    return Column(key=key, label=label, unit="%", align="right", best=best)


def _plain(key: str, label: str) -> Column:
    return Column(key=key, label=label, align="right", best="lowest")


MEASURES: dict[Task, tuple[Column, ...]] = {
    "classification": (
        _percent("train_accuracy", "train accuracy", "highest"),
        _percent("test_accuracy", "test accuracy", "highest"),
        _percent("adv_test_accuracy", "adv. test accuracy", "highest"),
        _percent("certified_test_accuracy", "certified test accuracy", "highest"),
        _plain("test_lipschitz", "test Lipschitz"),
        _plain("test_lipschitz_upper", "upper bound"),
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
_BOUNDS = {"certified_test_accuracy", "test_lipschitz_upper"}  # shown if a row has them, beside what attacks found
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
    each_seed: bool = False,
    sort: str = "",
) -> tuple[Table, ...]:
    """A leaderboard's tables with rows, as `paper_table` makes them; `notes` go to the last one.

    A column to `sort` by that no table has is a UsageError.
    """
    known = ["seeds", "defense", *(column.key for columns in MEASURES.values() for column in columns), *extra]
    if sort and sort not in known:
        raise UsageError(f"no column {sort!r} to sort by", hint=suggest(sort, known))
    style = _Style(published, paper, intervals, tuple(extra), most, each_seed, sort)
    made = partial(_table, share_doubts(rows), style=style)
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
    each_seed: bool = False,
) -> Table:
    """One line per training method in the papers' order; everything in a group is comparable.

    Seeds of one method are a line: means with standard deviations. With `each_seed`, each has its own line.

    Groups never mix profiles, subsets, attacks or training budgets. A published number of `paper` is shown in each group of its
    setting, with its source; the notes say when the profiles differ. Without rows of the task, the table has no groups. Entries
    always hold 95% intervals, their text with `intervals`. The names in `extra`, of values in the rows' `extra`, get a last
    column each, without a best value. Of measured lines only the first `most` are made; `Table.left_out` counts the others.
    """
    style = _Style(published, paper, intervals, tuple(extra), most, each_seed)
    return _table(share_doubts(rows), task=task, style=style)


class _Style(NamedTuple):
    """The arguments of `paper_tables`."""

    published: bool
    paper: str
    intervals: bool
    extra: tuple[str, ...]
    most: int | None
    each_seed: bool
    sort: str = ""


def _table(rows: Rows, *, task: Task, style: _Style) -> Table:
    """`paper_table` of rows with shared doubts."""
    other = PAPERS.keys() - {style.paper}  # what comes from elsewhere is shown whichever paper is chosen
    printed = rows.having("source", "published") & ~rows.having("published_source", *other)
    chosen = rows.where(
        (regressions(rows) == (task == "regression"))
        & (rows.having("source", "measured") | (printed & style.published))
    )
    settings = _settings(chosen)
    members = chosen.take([place for one in settings for place in one.places])
    group = np.repeat(np.arange(len(settings)), [len(one.places) for one in settings])
    methods = members.ranks_by(lambda *method: method_order(*method)[:3], "defense", "defense_options")
    members = members.take(np.lexsort([*map(members.ranks, _LAST_FIRST), methods, group]))
    numbers = np.arange(len(members)) if style.each_seed else runs_of(members)
    order = np.argsort(numbers, kind="stable")  # no run is in two groups
    runs = Runs(members.take(order), numbers[order])
    several = [SEEDS] if len(runs) < len(members) else []
    measures = (one for one in MEASURES[task] if one.key not in _BOUNDS or members.known(one.key).any())
    columns = (
        *(METHOD, *([SOURCE] if style.published else []), *several),
        *(*measures, *map(_extra_column, style.extra)),
    )
    size = len(runs) if style.most is None else min(style.most, len(runs))
    lines = lines_of(
        runs,
        group[runs.starts],
        columns,
        DIGITS[task],
        intervals=style.intervals,
        most=len(runs) if style.sort else size,
    )
    unread = iter(_sorted(lines, group[runs.starts], columns, style.sort)[:size])
    sizes = np.bincount(group[runs.starts], minlength=len(settings)).tolist()
    made = [
        Group(label=label, attributes=setting(one.first), lines=found)
        for one, label, count in zip(settings, _group_labels([one.first for one in settings]), sizes)
        if (found := tuple(islice(unread, count)))
    ]
    return Table(
        title=_title(settings, members),
        columns=columns,
        groups=tuple(made),
        notes=(
            *table_notes(members, made, task, style.intervals),
            *row_notes(runs.rows[: runs.ends[size - 1] if size and not style.sort else None]),
        ),
        left_out=len(runs) - size,
    )


def _sorted(lines: Sequence[Line], group: Array, columns: Sequence[Column], sort: str) -> list[Line]:
    """The lines of each group by a column, best or highest first, missing values last."""
    place = next((place for place, column in enumerate(columns) if column.key == sort), None)
    if place is None:
        return list(lines)
    sign = 1 if columns[place].best == "lowest" else -1

    def key(at: int) -> tuple[int, bool, float, str]:
        value = lines[at].entries[place].value
        number = 0.0 if value is None or isinstance(value, str) else sign * value
        return int(group[at]), value is None, number, value if isinstance(value, str) else ""

    return [lines[at] for at in sorted(range(len(lines)), key=key)]


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """The rows of one group: the first one, and the places of all, published ones last."""

    first: Row
    places: Sequence[int]


def _settings(rows: Rows) -> list[_Setting]:
    """The settings in order; published ones without measured rows only if no row is measured."""
    ours, theirs = (np.flatnonzero(rows.having("source", source)) for source in ("measured", "published"))
    found = [ours[places].tolist() for places in groups(_codes(rows.take(ours)))]
    firsts = rows.take([places[0] for places in found])
    measured = sorted(zip(firsts, found), key=lambda pair: repr(same_setting(pair[0])))
    published = list(rows.take(theirs))
    place_of = {id(row): place for row, place in zip(published, theirs.tolist())}
    beside, rest = shown_published([row for row, _ in measured], published, every=not measured)
    return [
        *(
            _Setting(first=row, places=[*places, *(place_of[id(one)] for one in more)])
            for (row, places), more in zip(measured, beside)
        ),
        *(_Setting(first=more[0], places=[place_of[id(one)] for one in more]) for more in rest),
    ]


def _codes(measured: Rows) -> Array:
    """Equal for rows of one group; a foreign model has read no training examples that count."""
    trained_here = measured.known("n_train")
    read = np.where(trained_here, measured.codes("n_train_evaluated") + 1, 0)
    codes = measured.codes(*(name for name in SAME_SETTING if name != "n_train_evaluated"))
    return np.asarray(codes * (int(read.max(initial=0)) + 1) + read)


def _extra_column(name: str) -> Column:
    return Column(key=name, label=name.replace("_", " "), unit="%" if is_share(name) else "", align="right")


def _group_labels(first: list[Row]) -> list[str]:
    short = [setting_label(row, every_option=False) for row in first]
    counts = Counter(short)
    return [label if counts[label] == 1 else setting_label(row, every_option=True) for row, label in zip(first, short)]


def _title(settings: Sequence[_Setting], rows: Rows) -> str:
    suite = settings[0].first.suite if settings else "leaderboard"
    profiles = sorted(profile for profile, source in rows.distinct("profile", "source")[0] if source == "measured")
    of = f"{' and '.join(profiles)} profile{'s, apart' if len(profiles) > 1 else ''}" if profiles else "published"
    return f"{suite}: {of}"
