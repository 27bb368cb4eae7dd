"""Rows, their schema and the conversions between rows and tables."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_rows import IDENTITY, make_cell, make_row

from benchbench.errors import DataError, StorageError
from benchbench.records import Row, rows_from_table, schema, table_from_rows
from benchbench.records.documentation import columns_page

FRACTION = st.floats(0, 1)
DIGESTS = st.sampled_from(["", "0" * 64, "ab" * 32])
VALUES = {
    "str": st.text(max_size=20),
    "str | None": st.none() | st.text(max_size=20),
    "int": st.integers(0, 2**63 - 1),
    "float": FRACTION,
    "int | None": st.none() | st.integers(0, 2**63 - 1),
    "float | None": st.none() | FRACTION,
    "tuple[str, ...]": st.lists(st.text(max_size=9), max_size=3).map(tuple),
    "Mapping[str, float]": st.dictionaries(st.text(max_size=9), st.floats(allow_nan=False, allow_infinity=False)),
}
CHOICES = {
    "suite": st.just("closer-look"),
    "cell_id": st.just("00ff"),
    "model_id": st.just("ff00"),
    "source": st.sampled_from(["measured", "published"]),
    "status": st.sampled_from(["ok", "failed"]),
    "outcomes_digest": DIGESTS,
    "witnesses_digest": DIGESTS,
}
ROWS = st.fixed_dictionaries(
    {field.name: CHOICES.get(field.name, VALUES[str(field.type)]) for field in dataclasses.fields(Row)}
).map(lambda columns: Row(**columns))


@given(st.lists(ROWS, max_size=3))
def test_rows_survive_a_table_unchanged(rows: list[Row]) -> None:
    assert rows_from_table(table_from_rows(rows)) == rows


def test_row_has_every_identity_column_of_a_cell() -> None:
    identity = make_cell().identity()
    row = Row(**identity)
    assert {name: getattr(row, name) for name in identity} == identity


def test_every_column_is_described_in_the_schema() -> None:
    assert all(field.metadata[b"description"] for field in schema())
    assert schema().names == [field.name for field in dataclasses.fields(Row)]


def test_documentation_of_the_columns_is_current() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "leaderboard-format.md"
    assert page.read_text(encoding="utf-8") == columns_page()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("seed", 1.5),
        ("seed", True),
        ("seed", 2**63),
        ("epsilon", "0.1"),
        ("epsilon", float("nan")),
        ("dataset", 7),
        ("dataset", "\ud800"),
        ("test_accuracy", 1.01),
        ("test_accuracy", -0.1),
        ("test_accuracy", float("nan")),
        ("test_lipschitz", float("inf")),
        ("flags", "masked"),
        ("flags", (1,)),
        ("extra", {"x": "high"}),
        ("extra", {1: 1.0}),
        ("source", "guessed"),
        ("status", "fine"),
        ("cell_id", "../../etc/passwd"),
        ("outcomes_digest", "../outcomes"),
    ],
)
def test_wrong_value_is_refused_and_its_column_named(column: str, value: object) -> None:
    with pytest.raises(DataError, match=f"'{column}'"):
        make_row(**{column: value})


def test_every_wrong_column_is_named_at_once() -> None:
    with pytest.raises(DataError, match=r"'seed'.*'test_accuracy'"):
        make_row(seed="0", test_accuracy=2.0)


def test_numpy_numbers_become_plain_ones() -> None:
    import numpy as np

    row = make_row(seed=np.int32(4), test_accuracy=np.float32(0.5), dropout=0)
    assert (row.seed, row.test_accuracy, row.dropout) == (4, 0.5, 0.0)
    assert [type(value) for value in (row.seed, row.test_accuracy, row.dropout)] == [int, float, float]


def test_table_with_another_type_names_the_column() -> None:
    table = table_from_rows([make_row()])
    place = table.schema.get_field_index("seed")
    wrong = table.set_column(place, "seed", pa.array(["0"]))
    with pytest.raises(StorageError, match=r"'seed' has type string instead of int64"):
        rows_from_table(wrong)


def test_table_without_a_column_names_it() -> None:
    with pytest.raises(StorageError, match="'epsilon' is missing"):
        rows_from_table(table_from_rows([make_row()]).drop_columns(["epsilon"]))


def test_missing_value_in_a_required_column_names_row_and_column() -> None:
    record = table_from_rows([make_row()]).to_pylist()[0] | {"dataset": None}
    fields = [field.with_nullable(True) for field in schema()]
    table = pa.Table.from_pylist([record], schema=pa.schema(fields, metadata=schema().metadata))
    with pytest.raises(DataError, match=r"row 1 .*'dataset'"):
        rows_from_table(table)


def test_identity_sample_is_complete() -> None:
    required = {field.name for field in dataclasses.fields(Row) if field.default is dataclasses.MISSING}
    assert required - {"extra"} == set(IDENTITY)
