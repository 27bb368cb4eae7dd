"""Check a leaderboard's table by column, and only rows in doubt one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from operator import itemgetter
from types import NoneType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchbench.errors import DataError
from benchbench.records.arrays import Array
from benchbench.records.row import CHOICES, PATTERNS, Row
from benchbench.records.rows import Rows
from benchbench.records.schema import Columns, check_schema, completed, schema, table_from_rows, upgraded

_AT_ONCE = 1024  # rows that are unpacked together


def rows_from_table(table: pa.Table, *, on_problem: Callable[[str], None] | None = None) -> Rows:
    """The rows of a leaderboard table of this schema version or an earlier one.

    Another schema is a StorageError. A row with impossible values is left out, and `on_problem` receives one line; without it,
    such a row is a DataError.
    """
    check_schema(table.schema, "the table")
    table = upgraded(table)
    if set(table.column_names) == set(schema().names):
        doubtful = _doubtful(table)
        if not doubtful.any():
            return Rows(table.select(schema().names).cast(schema()))
        sound = table.filter(pa.array(~doubtful)).select(schema().names).cast(schema())
    else:
        doubtful, sound = np.ones(table.num_rows, dtype=bool), schema().empty_table()
    places, parts = [np.flatnonzero(~doubtful)], [sound]
    for batch in np.array_split(np.flatnonzero(doubtful), range(_AT_ONCE, int(doubtful.sum()), _AT_ONCE)):
        found = _checked(table.take(pa.array(batch)), batch, on_problem)
        places.append(np.array(list(found), dtype=np.int64))
        parts.append(table_from_rows(found.values()))
    return Rows(pa.concat_tables(parts)).take(np.argsort(np.concatenate(places)))


def rows_from_records(records: Sequence[Columns]) -> tuple[Rows, Array]:
    """The sound ones of some records, and bool (n,): those that `Row` would refuse or change."""
    columns: dict[str, Sequence[Any]] = {}
    fields = dataclasses.fields(Row)
    try:
        values = (itemgetter(*(field.name for field in fields))({**_DEFAULTS, **record}) for record in records)
        for field, column in zip(fields, zip(*values)):
            if not {*map(type, column)} <= _TYPES[str(field.type)]:
                raise TypeError(f"column {field.name!r} has other types")
            columns[field.name] = [[*one.items()] for one in column] if field.name == "extra" else column
        table = pa.Table.from_pydict(columns, schema=schema())
    except (pa.ArrowException, KeyError, TypeError, ValueError, OverflowError):
        return Rows.of([]), np.ones(len(records), dtype=bool)
    doubtful = _doubtful(table)
    return Rows(table).where(~doubtful), doubtful


_TYPES: dict[str, set[type]] = {
    "str": {str},
    "str | None": {str, NoneType},
    "int": {int},
    "float": {float, int},
    "int | None": {int, NoneType},
    "float | None": {float, int, NoneType},
    "tuple[str, ...]": {list},
    "Mapping[str, float]": {dict},
}
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Row) if field.default is not dataclasses.MISSING}
_DEFAULTS |= {"flags": [], "extra": {}}


def _checked(table: pa.Table, places: Array, on_problem: Callable[[str], None] | None) -> dict[int, Row]:
    """The valid ones of some rows, by their places in the file."""
    rows: dict[int, Row] = {}
    for place, record in zip(places.tolist(), table.to_pylist()):
        try:
            rows[place] = Row(**{**completed(record), "extra": dict(record["extra"] or ())})
        except DataError as error:
            problem = f"row {place + 1} (cell {record['cell_id']!r}): {error.message}"
            if on_problem is None:
                raise DataError(problem) from error
            on_problem(problem)
    return rows


def _doubtful(table: pa.Table) -> Array:
    """bool (n,): the rows that `Row` would refuse or change, and perhaps others."""
    sound = np.ones(table.num_rows, dtype=bool)
    for field in dataclasses.fields(Row):
        column, annotation = table.column(field.name), str(field.type)
        if not annotation.endswith(" | None"):
            sound &= np.asarray(column.is_valid())
        if annotation.startswith(("float", "int")):
            least = 0 if annotation.startswith("int") else field.metadata["least"]
            sound &= _in_range(column, least, field.metadata["most"])
        if annotation.startswith("tuple"):
            sound[_wrong_lists(column)] = False
        if annotation.startswith("Mapping"):
            sound[_wrong_maps(column)] = False
    for name, pattern in PATTERNS.items():
        matching = pc.match_substring_regex(table.column(name), rf"\A(?:{pattern})\z")
        sound &= np.asarray(matching.fill_null(False))
    for name, allowed in CHOICES.items():
        sound &= np.asarray(pc.is_in(table.column(name), value_set=pa.array(allowed)))
    return ~sound


def _in_range(column: pa.ChunkedArray, least: float | None, most: float | None) -> Array:
    values = column.fill_null(0).to_numpy()
    low, high = -np.inf if least is None else least, np.inf if most is None else most
    return np.asarray(np.isfinite(values) & (values >= low) & (values <= high))


def _wrong_lists(column: pa.ChunkedArray) -> Array:
    """Places of lists with a missing text."""
    lengths = pc.list_value_length(column).fill_null(0).to_numpy()
    places = np.repeat(np.arange(len(lengths)), lengths)
    return np.asarray(places[np.asarray(pc.list_flatten(column).is_null())])


def _wrong_maps(column: pa.ChunkedArray) -> Array:
    """Places of maps with unsorted or repeated names, or with numbers that are not finite."""
    maps = column.combine_chunks()
    offsets = maps.offsets.to_numpy()
    inside, lengths = slice(int(offsets[0]), int(offsets[-1])), np.diff(offsets)
    places, names = np.repeat(np.arange(len(lengths)), lengths), maps.keys[inside].dictionary_encode()
    order = {name: rank for rank, name in enumerate(sorted(names.dictionary.to_pylist()))}
    ranks = np.array([order[name] for name in names.dictionary.to_pylist()], dtype=np.int64)[names.indices.to_numpy()]
    unsorted = (places[1:] == places[:-1]) & (ranks[1:] <= ranks[:-1])
    infinite = ~np.isfinite(maps.items[inside].to_numpy(zero_copy_only=False))
    return np.concatenate([places[1:][unsorted], places[infinite]])
