"""Tables as a value in Python: for notebooks, pandas, polars and other programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from benchbench.leaderboard.formats import render_all
from benchbench.leaderboard.layout import Line, Table

MOST_LINES = 200  # of a table in a notebook
_NAMED = 8  # groups that a repr names


@dataclass(frozen=True, kw_only=True, repr=False)
class Tables:
    """What `benchbench.table` returns: tables in the papers' style.

    A notebook shows them; ``to_pandas()``, ``polars.DataFrame(tables)`` and ``pyarrow.table(tables)`` have the values of
    `records`.
    """

    tables: tuple[Table, ...]

    @property
    def records(self) -> list[dict[str, object]]:
        """A mapping for each line: setting, unrounded values, ends of intervals, flags, cell.

        Accuracies are fractions, as in the leaderboard.
        """
        return [
            {**dict(group.attributes), **_record(table, line)}
            for table in self.tables
            for group in table.groups
            for line in group.lines
        ]

    def to_arrow(self) -> pa.Table:
        """The `records` as an Arrow table."""
        return arrow_table(self.records)

    def to_pandas(self) -> Any:
        """The `records` as a ``pandas.DataFrame``; needs pandas."""
        return self.to_arrow().to_pandas()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def render(self, format: str) -> str:
        """The tables as text: ``"markdown"``, ``"latex"``, ``"csv"``, ``"json"`` or ``"html"``."""
        return render_all(self.tables, format)

    def __repr__(self) -> str:
        groups = [(table, group) for table in self.tables for group in table.groups]
        named = [f"  {group.label}: {_lines(len(group.lines))}" for _, group in groups[:_NAMED]]
        more = [f"  and {len(groups) - _NAMED} more groups"] if len(groups) > _NAMED else []
        title = "; ".join(table.title for table in self.tables) or "no tables"
        return "\n".join([f"{title}, {_lines(sum(len(group.lines) for _, group in groups))}", *named, *more])

    def _repr_html_(self) -> str:
        return render_all([_beginning(table) for table in self.tables], "html")


def arrow_table(records: Sequence[Mapping[str, object]]) -> pa.Table:
    """Records as an Arrow table; a column of texts and numbers holds texts."""
    names = dict.fromkeys(name for record in records for name in record)
    return pa.table({name: _column([record.get(name) for record in records]) for name in names})


def _column(values: Sequence[object]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values])


def _record(table: Table, line: Line) -> dict[str, object]:
    found: dict[str, object] = {}
    for column, entry in zip(table.columns, line.entries):
        more = {"low": entry.low, "high": entry.high, "verdict": entry.verdict or None}
        known = {f"{column.key}_{name}": value for name, value in more.items() if value is not None}
        found |= {column.key: entry.value, **known}
    return {
        **found,
        "source": line.source,
        "status": line.status,
        "flags": ";".join(line.flags),
        "cell_id": line.cell_id,
    }


def _beginning(table: Table) -> Table:
    """The first lines of a table, with a note of how many are left out."""
    groups, left = [], MOST_LINES
    for group in table.groups:
        groups.append(dataclasses.replace(group, lines=group.lines[: max(left, 0)]))
        left -= len(group.lines)
    notes = [f"{-left:,} more lines: .to_pandas() or .render(format) has all of them"] if left < 0 else []
    return dataclasses.replace(
        table, groups=tuple(group for group in groups if group.lines), notes=(*table.notes, *notes)
    )


def _lines(count: int) -> str:
    return f"{count:,} line{'' if count == 1 else 's'}"
