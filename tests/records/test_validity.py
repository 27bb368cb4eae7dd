"""Tables of older schemas are completed and checked as a whole."""

from __future__ import annotations

import pytest
from sample_rows import make_row

from benchbench.records import schema, table_from_rows
from benchbench.records.validity import rows_from_table


def test_rows_of_schema_3_get_the_new_columns_without_being_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [make_row(cell_id="one"), make_row(cell_id="two", defense="natural")]
    old = schema(3)
    assert len(old) < len(schema())
    table = table_from_rows(rows).select(old.names).cast(old)
    monkeypatch.setattr("benchbench.records.validity._checked", lambda *_: {})
    assert list(rows_from_table(table)) == rows
    assert (rows[0].weight_averaging, rows[0].n_validation, rows[0].n_extra) == ("none", 0, 0)
