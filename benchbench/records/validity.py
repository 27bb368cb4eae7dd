"""Check a leaderboard's table by column, and only rows in doubt one by one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.json import ParseOptions, ReadOptions, read_json

from benchbench.errors import DataError
from benchbench.records.arrays import Array
from benchbench.records.row import CHOICES, PATTERNS, Row
from benchbench.records.rows import Rows
from benchbench.records.schema import check_schema, completed, schema, table_from_rows, upgraded

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


def rows_from_records(texts: Sequence[bytes]) -> tuple[Rows, Array]:
    """The sound ones of some rows in canonical JSON, and bool (n,): those to read one by one.

    These are all that `Row` would refuse or change, and perhaps others: Arrow reads all texts at once, several times as fast as
    Python would, and one that it refuses puts all in doubt. It takes a missing value for null, so that null is in doubt where
    rows of older schemas get another value.
    """
    try:
        several, extras = zip(*map(_without_extra, texts))
        table = _table_from_json(several)
        extra = pa.array(extras, schema().field("extra").type)
        table = table.append_column("extra", extra).select(schema().names).cast(schema())
    except (pa.ArrowException, AttributeError, TypeError, ValueError, OverflowError):
        return Rows.of([]), np.ones(len(texts), dtype=bool)
    doubtful = _doubtful(table)
    for field in dataclasses.fields(Row):
        if field.default is not None:
            doubtful |= np.asarray(table.column(field.name).is_null())
    return Rows(table).where(~doubtful), doubtful


def _table_from_json(texts: Sequence[bytes]) -> pa.Table:
    """The columns of rows in canonical JSON but for `extra`."""
    columns = [field for field in schema() if field.name != "extra"]
    return read_json(
        pa.BufferReader(b"\n".join(texts)),
        read_options=ReadOptions(block_size=max(2**20, *map(len, texts)) + 1),
        parse_options=ParseOptions(
            explicit_schema=pa.schema([field.with_nullable(True) for field in columns]),
            unexpected_field_behavior="error",
        ),
    )


def _without_extra(text: bytes) -> tuple[bytes, list[tuple[str, float]]]:
    """A row in canonical JSON without `extra`, which is no struct, and the items of that."""
    whole = text.decode("ascii")
    before, key, after = whole.partition(', "extra": ')
    if not key:
        raise ValueError("it has no extra values")
    extra, end = _JSON.raw_decode(after)
    if not {*map(type, extra.values())} <= {float, int}:
        raise TypeError("extra values that are no numbers")
    return f"{before}{after[end:]}".encode(), [*extra.items()]


_JSON = json.JSONDecoder()


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
        if not annotation.endswith(" | None") and column.null_count:
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
