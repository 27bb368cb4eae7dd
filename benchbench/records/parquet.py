"""Read untrusted Parquet files: bounded in size, any damage as one kind of error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq

from benchbench.errors import CorruptDataError
from benchbench.records.pages import AbsurdSizeError, rows_at_once

with suppress(
    NotImplementedError
):  # a build without it; for the default one, the system clears three times as many pages
    pa.set_memory_pool(pa.jemalloc_memory_pool())
MOST_BYTES = 512 * 2**20  # unpacked, for a file of any size: runs of equal values take almost no space in a file
_SAMPLED = 1000  # rows that tell which column is the largest
MOST_GROWTH = 100  # larger files may unpack to 100 times their size; adversarial images grow about fourfold


def read_parquet(
    content: bytes,
    what: str,
    *,
    hint: str = "",
    check: Callable[[pa.Schema], None] = lambda _: None,
    whole: bool = False,
) -> pa.Table:
    """Read a Parquet file, `whole` columns in one piece; CorruptDataError if damaged or absurd."""
    limit = max(MOST_BYTES, MOST_GROWTH * len(content))
    try:
        rows = rows_at_once(content, limit)
        with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
            check(file.schema_arrow)
            return _read_whole(file, limit, rows) if whole else _read_within(file, limit, rows)
    except AbsurdSizeError as error:
        raise CorruptDataError(f"{what} unpacks to more than {limit / 2**20:,.0f} MiB: {error}", hint=hint) from error
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CorruptDataError(f"{what} is truncated or damaged: {reason}", hint=hint) from error


def _read_whole(file: pq.ParquetFile, limit: int, rows: int) -> pa.Table:
    """Read each column in one piece, the largest first: to join its pieces takes its size again."""
    schema, joined = file.schema_arrow, dict[str, pa.ChunkedArray]()
    largest = _largest(file, min(rows, _SAMPLED))
    for fields in (largest, [field for field in schema if field not in largest]):
        table = _read_within(file, limit - sum(column.nbytes for column in joined.values()), rows, fields)
        pieces = table.columns
        del table  # so that a column's pieces are freed before the next one is joined
        for field in fields:
            joined[field.name] = pieces.pop(0).combine_chunks()
    return pa.Table.from_arrays([joined[name] for name in schema.names], schema=schema)


def _largest(file: pq.ParquetFile, rows: int) -> list[pa.Field]:
    """The column that takes most memory in the first rows; none of a file without rows."""
    beginning = next(file.iter_batches(batch_size=rows), None)
    return [] if beginning is None else [max(file.schema_arrow, key=lambda field: int(beginning[field.name].nbytes))]


def _read_within(file: pq.ParquetFile, limit: int, rows: int, fields: Sequence[pa.Field] | None = None) -> pa.Table:
    """Read all columns or some, at most `limit` bytes of them and `rows` rows at once."""
    schema = file.schema_arrow if fields is None else pa.schema(fields)
    names = None if fields is None else schema.names
    batches = list[pa.RecordBatch]()
    size = 0
    for number, batch in enumerate(file.iter_batches(batch_size=rows, columns=names, use_threads=False)):
        size += batch.nbytes
        if size > limit:
            raise AbsurdSizeError(f"its first {number * rows:,} rows do")
        batches.append(batch)
    table = pa.Table.from_batches(batches, schema)
    table.validate(full=True)  # otherwise text that is not UTF-8 raises later, at its first use
    return table
