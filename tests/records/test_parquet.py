"""Reading untrusted Parquet files; damage is tested with the files that are read."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from benchbench.records.parquet import read_parquet

POOL = pa.proxy_memory_pool(pa.default_memory_pool())  # it must outlive what is read into it


def test_reading_whole_columns_takes_the_largest_one_twice_and_no_more() -> None:
    """Configurations are more than half of a leaderboard: joined last, they were there twice beside all the rest."""
    count = 40_000
    table = pa.table(
        {
            **{f"number_{place}": pa.array([float(row + place) for row in range(count)]) for place in range(40)},
            "text": [f"{row:0400d}" for row in range(count)],
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=10_000)
    text, before = table["text"].nbytes, pa.default_memory_pool()
    pa.set_memory_pool(POOL)
    try:
        found = read_parquet(buffer.getvalue(), "a leaderboard", whole=True)
    finally:
        pa.set_memory_pool(before)
    assert found.equals(table)
    assert all(column.num_chunks == 1 for column in found.columns)
    assert POOL.max_memory() < 1.15 * max(2 * text, table.nbytes) < table.nbytes + 0.6 * text
