"""Read untrusted Parquet files: bounded in size, any damage as one kind of error."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from benchbench.errors import CorruptDataError

MOST_BYTES = 512 * 2**20  # unpacked, for a file of any size: runs of equal values take almost no space in a file
MOST_GROWTH = 100  # larger files may unpack to 100 times their size; adversarial images grow about fourfold
ROWS_AT_ONCE = 1024


def read_parquet(content: bytes, what: str, *, hint: str = "", whole: bool = False) -> pa.Table:
    """Read a Parquet file from memory; raise `CorruptDataError` for any damage or absurd size.

    `whole` columns are in one piece, from which rows can be taken quickly; this reads the file twice.
    """
    limit = max(MOST_BYTES, MOST_GROWTH * len(content))
    try:
        with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
            _check_stated_size(file, limit, what)
            table = _read_within(file, limit, what, whole=whole)
        table.validate(full=True)  # otherwise text that is not UTF-8 raises later, at its first use
        return table
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CorruptDataError(f"{what} is truncated or damaged: {reason}", hint=hint) from error


def _check_stated_size(file: pq.ParquetFile, limit: int, what: str) -> None:
    """Check the footer's sizes but not those of columns: damaged ones make pyarrow abort."""
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    stated = sum(max(group.total_byte_size, 0) for group in groups)
    widths = [getattr(field.type, "list_size", 1) for field in file.schema_arrow]
    if max(stated, file.metadata.num_rows * sum(widths)) > limit:
        raise _absurd(what, limit)


def _read_within(file: pq.ParquetFile, limit: int, what: str, *, whole: bool) -> pa.Table:
    """Read the rows in batches, because the footer may state wrong sizes."""
    batches, size = [], 0
    for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
        size += batch.nbytes
        if size > limit:
            raise _absurd(what, limit)
        batches += [] if whole else [batch]
    return file.read() if whole else pa.Table.from_batches(batches, file.schema_arrow)


def _absurd(what: str, limit: int) -> CorruptDataError:
    return CorruptDataError(f"{what} unpacks to more than {limit / 2**20:,.0f} MiB")
