"""Rows as columns: the same rows as objects would be, and the same ones refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from many_rows import few_rows, many_rows

from benchbench.errors import DataError
from benchbench.records import Row, Rows, groups, rows_from_table, table_from_rows


def test_rows_are_equal_to_the_objects_that_they_were_made_of() -> None:
    made = few_rows()
    rows = rows_from_table(table_from_rows(made))
    assert list(rows) == made
    assert rows == made
    assert rows[-1] == made[-1]
    assert list(rows[2:5]) == made[2:5]
    assert list(rows.where(rows.having("defense", "trades"))) == [row for row in made if row.defense == "trades"]


def test_a_row_read_by_column_has_the_types_of_one_that_was_checked() -> None:
    row = rows_from_table(table_from_rows(few_rows()))[3]
    assert row.flags == ("zero-gradients",)
    assert row.extra == {"clean_loss": 3.0}
    assert {type(getattr(row, f.name)) for f in dataclasses.fields(Row)} <= {str, int, float, tuple, dict, type(None)}


def test_equal_values_have_equal_codes() -> None:
    rows = Rows.of(few_rows())
    codes = rows.codes("defense", "seed")
    keys = [(row.defense, row.seed) for row in rows]
    assert [codes[i] == codes[j] for i in range(12) for j in range(12)] == [a == b for a in keys for b in keys]
    assert [places.tolist() for places in groups(codes)] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]


def test_rows_of_rows_are_those_of_the_whole() -> None:
    rows = many_rows(100)
    part = rows.take(np.arange(50, 100)).where(np.arange(50) % 2 == 0)
    assert part.values("cell_id") == [f"{place:016x}" for place in range(50, 100, 2)]
    assert part.replaced("seed", range(25)).values("seed") == list(range(25))
    assert part.table.num_rows == len(part) == 25


def test_joined_rows_are_those_of_the_parts_in_any_order() -> None:
    parts = [many_rows(30), many_rows(70).take(np.arange(69, 29, -1)), many_rows(5)]
    joined, expected = Rows.joined(parts), [row for part in parts for row in part]
    order = np.random.default_rng(0).permutation(len(joined))
    chosen = joined.take(order)
    assert list(chosen) == [expected[place] for place in order]
    assert Rows(chosen.table) == chosen
    assert chosen.table.schema.equals(parts[0].table.schema, check_metadata=True)


WRONG: list[tuple[str, Any]] = [
    ("cell_id", "../up"),
    ("cell_id", "line\n"),
    ("cell_id", None),
    ("suite", ""),
    ("source", "guessed"),
    ("status", "fine"),
    ("outcomes_digest", "ab"),
    ("epsilon", float("nan")),
    ("epsilon", None),
    ("train_epsilon", float("inf")),
    ("test_accuracy", 1.01),
    ("adv_test_accuracy", -0.1),
    ("test_lipschitz", -1.0),
    ("queries", -1),
    ("n_test", None),
    ("flags", None),
    ("flags", ["fine", None]),
    ("extra", [("a", float("nan"))]),
    ("extra", [("a", None)]),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_an_impossible_value_is_named_and_its_row_left_out(name: str, value: object) -> None:
    table = table_from_rows(few_rows())
    column = table.column(name).to_pylist()
    column[5] = value
    place = table.schema.get_field_index(name)
    field = table.schema.field(place).with_nullable(True)
    planted = table.set_column(place, field, pa.array(column, type=field.type))
    problems: list[str] = []
    rows = rows_from_table(planted, on_problem=problems.append)
    (problem,) = problems
    assert problem.startswith("row 6 (cell ")
    assert f"'{name}'" in problem
    assert list(rows) == [row for number, row in enumerate(few_rows()) if number != 5]
    with pytest.raises(DataError, match="row 6"):
        rows_from_table(planted)


def test_names_of_extra_values_are_sorted_and_once_as_a_checked_row_has_them() -> None:
    table = table_from_rows(few_rows())
    place = table.schema.get_field_index("extra")
    doubled = pa.array([[("b", 1.0), ("a", 2.0), ("b", 3.0)]] * len(table), type=table.schema.field(place).type)
    rows = rows_from_table(table.set_column(place, table.schema.field(place), doubled))
    assert rows.table.column("extra").to_pylist() == [[("a", 2.0), ("b", 3.0)]] * len(table)
