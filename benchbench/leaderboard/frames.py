"""Results in Python: tables for people, records for pandas, polars and other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from benchbench.escaping import as_html, as_text
from benchbench.leaderboard.formats import table_document
from benchbench.leaderboard.layout import Table

MOST_LINES = 200  # of a table in a notebook


class Sheet(NamedTuple):
    """One table as text."""

    title: str
    columns: Sequence[str]
    lines: Sequence[Sequence[object]]
    right: Sequence[str] = ()  # columns that are aligned to the right
    remarks: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, repr=False)
class Listing:
    """A result that a notebook shows as tables; ``to_pandas()``, ``polars.DataFrame(listing)``."""

    sheets: tuple[Sheet, ...]
    records: Sequence[Mapping[str, Any]]  # a mapping for each line; accuracies are fractions
    document: object  # all of it as plain values, for JSON

    def to_arrow(self) -> pa.Table:
        """The records as an Arrow table; a column of texts and numbers holds texts."""
        names = dict.fromkeys(name for record in self.records for name in record)
        return pa.table({name: _column([record.get(name) for record in self.records]) for name in names})

    def to_pandas(self) -> Any:
        """The records as a ``pandas.DataFrame``; needs pandas."""
        return self.to_arrow().to_pandas()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return "\n".join(as_text(*sheet[:3], remarks=sheet.remarks) for sheet in self.sheets[:2]) + (
            f"\nand {len(self.sheets) - 2} more tables" if len(self.sheets) > 2 else ""
        )

    def _repr_html_(self) -> str:
        return "".join(as_html(*sheet[:3], most=MOST_LINES, remarks=sheet.remarks) for sheet in self.sheets)


def listed(tables: Sequence[Table]) -> Listing:
    """A leaderboard's tables, a sheet for each group."""
    documents = [table_document(table) for table in tables]
    return Listing(
        sheets=tuple(
            Sheet(
                title=f"{table.title}: {group.label}",
                columns=[column.heading for column in table.columns],
                lines=[[entry.text for entry in line.entries] for line in group.lines],
                remarks=table.notes if group is table.groups[-1] else (),
            )
            for table in tables
            for group in table.groups
        ),
        records=[
            {**group["setting"], **{name: value for name, value in row.items() if value not in ({}, [])}}
            for document in documents
            for group in document["groups"]
            for row in group["rows"]
        ],
        document=documents,
    )


def _column(values: Sequence[object]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values])
