"""Many rows as one Arrow table, chosen and ordered by column; objects where they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchbench.records.arrays import Array
from benchbench.records.row import Row, checked_row
from benchbench.records.schema import table_from_rows

_AT_ONCE = 1024  # rows that are unpacked together


class Rows(Sequence[Row]):
    """Checked rows of a leaderboard; each becomes a `Row` when it is read, and not before."""

    def __init__(self, table: pa.Table, places: Array | None = None) -> None:
        """Take a leaderboard's table of valid rows, or some places of it."""
        self._whole, self._places = table, places
        self._encoded = cache(self._encode)  # of all rows; what is chosen from them shares it

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Rows:
        """The rows as they are, or a table of them."""
        return rows if isinstance(rows, Rows) else cls(table_from_rows(rows))

    @classmethod
    def joined(cls, several: Iterable[Rows]) -> Rows:
        """The rows of several, one after the other."""
        listed = list(several)
        ends = np.cumsum([0, *(rows._whole.num_rows for rows in listed)])
        places = [at + (np.arange(len(one)) if one._places is None else one._places) for one, at in zip(listed, ends)]
        return cls(pa.concat_tables([rows._whole for rows in listed]), np.concatenate(places))

    @property
    def table(self) -> pa.Table:
        """The rows as an Arrow table."""
        return self._whole if self._places is None else self._at(self._places)

    def uncached(self) -> Rows:
        """The same rows, which keep no memory for columns that were encoded."""
        return Rows(self._whole, self._places)

    def _at(self, places: Array) -> pa.Table:
        """Some rows, from each piece of a joined table apart: Arrow would copy all of it first."""
        pieces = self._whole.to_batches()
        if len(pieces) < 2 or not len(places):
            return self._whole.take(pa.array(places, pa.int64()))
        ends = np.cumsum([piece.num_rows for piece in pieces])
        owners = np.searchsorted(ends, places, side="right")
        parts, order, size = [], np.empty(len(places), dtype=np.int64), 0
        for owner in np.unique(owners):
            chosen = np.flatnonzero(owners == owner)
            within = places[chosen] - (ends[owner] - pieces[owner].num_rows)
            part, order[chosen] = _excerpt(pieces[owner], within)
            order[chosen] += size
            size += part.num_rows
            parts.append(part)
        wanted = pa.array(order)
        columns = (pa.concat_arrays(several).take(wanted) for several in zip(*(part.columns for part in parts)))
        return pa.Table.from_arrays([*columns], schema=self._whole.schema)

    def _column(self, name: str) -> pa.ChunkedArray:
        column = self._whole.column(name)
        return column if self._places is None else column.take(pa.array(self._places))

    def __len__(self) -> int:
        return int(self._whole.num_rows) if self._places is None else len(self._places)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Rows: ...
    def __getitem__(self, place: int | slice) -> Row | Rows:
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        return next(iter(self.take([range(len(self))[place]])))

    def __iter__(self) -> Iterator[Row]:
        names, places = self._whole.column_names, np.arange(len(self)) if self._places is None else self._places
        for start in range(0, len(places), _AT_ONCE):
            block = self._at(places[start : start + _AT_ONCE])
            for values in zip(*(column.to_pylist() for column in block.columns)):
                yield checked_row(dict(zip(names, values)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(Row.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]  # like a list

    def values(self, name: str) -> list[Any]:
        """The values of a column, of flags as lists."""
        found: list[Any] = self._column(name).to_pylist()
        return found

    def having(self, name: str, *wanted: object) -> Array:
        """bool (n,): the rows with one of some values in a column."""
        column = self._column(name)
        return _bools(pc.is_in(column, value_set=pa.array(wanted, type=column.type)))

    def numbers(self, name: str) -> Array:
        """float64 (n,): the values of a column, NaN where there is none."""
        return np.asarray(pc.fill_null(self._column(name).cast(pa.float64()), np.nan).to_numpy())

    def known(self, name: str) -> Array:
        """bool (n,): the rows with a value in a column."""
        return _bools(self._column(name).is_valid())

    def beginning(self, name: str, text: str) -> Array:
        """bool (n,): the rows whose value in a column begins with a text."""
        return _bools(pc.starts_with(self._column(name), text))

    def naming(self, column: str, name: str) -> Array:
        """bool (n,): the rows with a name in a column of mappings."""
        maps = self._column(column).combine_chunks()
        offsets = maps.offsets.to_numpy()
        found = np.flatnonzero(pc.equal(maps.keys, name))
        return np.asarray(np.searchsorted(found, offsets[1:]) > np.searchsorted(found, offsets[:-1]))

    def names_in(self, name: str) -> set[str]:
        """All names in a column of mappings."""
        maps = self._column(name).combine_chunks()
        return {*pc.unique(maps.keys[maps.offsets[0].as_py() : maps.offsets[-1].as_py()]).to_pylist()}

    @property
    def flagged(self) -> Array:
        """bool (n,): the rows with flags."""
        return _bools(pc.greater(pc.list_value_length(self._column("flags")), 0))

    def codes(self, *names: str) -> Array:
        """int64 (n,), from 0: equal numbers for rows with equal values in all of some columns."""
        codes = np.zeros(len(self), dtype=np.int64)
        for name in names:
            more = _dense(self._indices(name))
            if more.any():
                codes = _dense(codes * (int(more.max()) + 1) + more)
        return codes

    def _encode(self, name: str) -> pa.DictionaryArray:
        column = self._whole.column(name)
        if pa.types.is_floating(column.type):
            column = pc.add(column, 0.0)  # -0.0 equals 0.0
        return column.combine_chunks().dictionary_encode(null_encoding="encode")

    def _indices(self, name: str) -> Array:
        indices = self._encoded(name).indices.to_numpy(zero_copy_only=False)
        return np.asarray(indices if self._places is None else indices[self._places], dtype=np.int64)

    def distinct(self, *names: str) -> tuple[list[tuple[Any, ...]], Array]:
        """The different values of some columns, and int64 (n,): the place of each row's among them."""
        codes = self.codes(*names)
        first = np.empty(int(codes.max(initial=-1)) + 1, dtype=np.int64)
        first[codes[::-1]] = np.arange(len(self))[::-1]  # the last one written stands
        columns = (self._column(name).take(pa.array(first)).to_pylist() for name in names)
        return list(zip(*columns)), codes

    def each(self, test: Callable[..., bool], *names: str) -> Array:
        """bool (n,): a test of some columns, called once for each combination of their values."""
        found, codes = self.distinct(*names)
        return np.array([test(*values) for values in found], dtype=bool)[codes]

    def differing(self, places: Array, others: Array, names: Iterable[str]) -> Array:
        """bool (n,): whether the rows at two places each differ in any of some columns."""
        found = np.zeros(len(places), dtype=bool)
        pairs, sides = self.take(np.concatenate([places, others])), (self.take(places), self.take(others))
        for name in names:
            ours, theirs = (side._column(name) for side in sides)
            if ours.equals(theirs):
                continue
            if pa.types.is_nested(self._whole.schema.field(name).type):
                for block in np.array_split(np.arange(len(places)), len(places) // _AT_ONCE + 1):
                    ours, theirs = (pairs.take(block + start).values(name) for start in (0, len(places)))
                    found[block] |= np.array([one != other for one, other in zip(ours, theirs)], dtype=bool)
            else:
                codes = pairs.codes(name)
                found |= codes[: len(places)] != codes[len(places) :]
        return found

    def ranks(self, name: str) -> Array:
        """int64 (n,): numbers in the order of a column's values, None first; ties share one."""
        encoded = self._encoded(name)
        order = pc.array_sort_indices(encoded.dictionary).to_numpy()
        ranks = np.empty(len(order), dtype=np.int64)
        ranks[np.roll(order, encoded.dictionary.null_count)] = np.arange(len(order))
        return np.asarray(ranks[self._indices(name)])

    def ranks_by(self, key: Callable[..., Any], *names: str) -> Array:
        """int64 (n,): each row's place in the order of a key of some columns; ties share one."""
        found, places = self.distinct(*names)
        keys = [key(*values) for values in found]
        ranks = np.zeros(len(keys), dtype=np.int64)
        for before, after in pairwise(sorted(range(len(keys)), key=keys.__getitem__)):
            ranks[after] = ranks[before] + (keys[before] != keys[after])
        return ranks[places]

    def take(self, places: Sequence[int] | Array) -> Rows:
        """The rows at some places, in their order."""
        chosen = np.asarray(places, dtype=np.int64)
        if np.array_equal(chosen, np.arange(len(self))):
            return self  # so that no column is copied
        found = Rows(self._whole, chosen if self._places is None else self._places[chosen])
        found._encoded = self._encoded
        return found

    def where(self, chosen: Array) -> Rows:
        """The rows where a bool (n,) is true."""
        return self.take(np.flatnonzero(chosen))

    def replaced(self, name: str, values: Sequence[object]) -> Rows:
        """The rows with other values in a column."""
        column: list[object] = [None] * self._whole.num_rows
        for place, value in zip(range(len(self)) if self._places is None else self._places.tolist(), values):
            column[place] = value
        place = self._whole.schema.get_field_index(name)
        field = self._whole.schema.field(place)
        return Rows(self._whole.set_column(place, field, pa.array(column, type=field.type)), self._places)


def groups(codes: Array) -> list[Array]:
    """The increasing int64 places of each number, numbers in order of first appearance."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    found = np.split(order, starts[1:]) if len(codes) else []
    return sorted(found, key=lambda places: int(places[0]))


def _excerpt(piece: pa.RecordBatch, places: Array) -> tuple[pa.RecordBatch, Array]:
    """Part of a piece with the rows at some places, uncopied if they are near; places in it."""
    first, last = int(places.min()), int(places.max())
    if last - first < 2 * len(places):
        return piece.slice(first, last - first + 1), places - first
    return piece.take(pa.array(places)), np.arange(len(places))


def _dense(codes: Array) -> Array:
    """Codes from 0 without gaps, in the order of the given ones."""
    size = int(codes.max(initial=-1)) + 1
    if size > 8 * len(codes):
        return np.asarray(np.unique(codes, return_inverse=True)[1])
    present = np.zeros(size, dtype=bool)
    present[codes] = True
    return np.asarray((np.cumsum(present) - 1)[codes])


def _bools(column: pa.ChunkedArray) -> Array:
    return np.asarray(column.to_numpy(), dtype=bool)
