"""Rows as columns: the same rows as objects would be, and the same ones refused."""

from __future__ import annotations

import dataclasses
import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from many_rows import few_rows, many_rows

from benchbench.errors import DataError
from benchbench.records import Row, Rows, groups, rows_from_table, table_from_rows
from benchbench.records.validity import rows_from_records


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


def test_some_rows_have_codes_without_gaps_and_values_in_the_order_of_the_whole() -> None:
    made = few_rows()
    made[4:6] = [dataclasses.replace(row, train_epsilon=None) for row in made[4:6]]
    whole = Rows.of(made)
    assert len(whole.distinct("defense", "cell_id")[0]) == 12  # what follows does not depend on what was asked before
    for places in ([9, 8, 5, 4, 9], [11], [], list(range(12))[::-1]):
        rows, expected = whole.take(places), [made[place] for place in places]
        for names in (("defense",), ("train_epsilon", "seed"), ("cell_id", "train_epsilon"), ()):
            keys = [tuple(getattr(row, name) for name in names) for row in expected]
            found, codes = rows.distinct(*names)
            assert np.array_equal(codes, rows.codes(*names))
            assert sorted({*codes.tolist()}) == list(range(len({*keys})))
            assert not names or ([found[code] for code in codes] == keys and len(found) == len({*keys}))
        ranks, values = rows.ranks("train_epsilon"), [row.train_epsilon for row in expected]
        order = sorted({*values}, key=lambda value: (value is not None, value))
        assert [order.index(value) for value in values] == np.unique(ranks, return_inverse=True)[1].tolist()


@pytest.mark.parametrize("name", ["defense", "seed", "dropout", "train_epsilon", "adv_test_accuracy", "cell_id"])
def test_ranks_are_the_places_in_sorted_order_with_none_first(name: str) -> None:
    made = few_rows()
    made[1:4] = [dataclasses.replace(row, train_epsilon=None, adv_test_accuracy=None) for row in made[1:4]]
    made[5] = dataclasses.replace(made[5], dropout=-0.0, train_epsilon=0.25)
    found = [getattr(row, name) for row in made]
    order = sorted({*found}, key=lambda value: (value is not None, value))
    assert Rows.of(made).ranks(name).tolist() == [order.index(value) for value in found]


def test_numbers_and_names_of_columns_are_those_of_the_rows() -> None:
    made = [dataclasses.replace(row, adv_test_accuracy=None) if row.seed else row for row in few_rows()]
    made[2] = dataclasses.replace(made[2], extra={"a": 1.0, "challenged": 2.0, "z": 3.0})
    for rows, expected in ((Rows.of(made), made), (Rows.of(made)[1:5], made[1:5])):
        numbers = [math.nan if row.adv_test_accuracy is None else row.adv_test_accuracy for row in expected]
        assert np.array_equal(rows.numbers("adv_test_accuracy"), numbers, equal_nan=True)
        for name in ("challenged", "clean_loss", "a"):
            assert rows.naming("extra", name).tolist() == [name in row.extra for row in expected]


def canonical(columns: dict[str, Any]) -> bytes:
    return json.dumps(columns, sort_keys=True).encode()


def records_of_few_rows() -> list[dict[str, Any]]:
    return [json.loads(canonical(dataclasses.asdict(row))) for row in few_rows()]


def test_records_become_the_rows_that_they_are_one_by_one() -> None:
    made = few_rows()
    extra = {"b": 1e-300, '}, "extra": {': -0.0, "\u00e9": 5.0}
    made[2] = dataclasses.replace(
        made[2], extra=dict(sorted(extra.items())), defense_label='a "\\ \u00e9 \U0001f600', dropout=-0.0
    )
    rows, doubtful = rows_from_records([canonical(dataclasses.asdict(row)) for row in made])
    assert (list(rows), doubtful.any()) == (made, False)
    assert np.signbit(rows.numbers("dropout")[2])
    assert rows.table.schema.equals(Rows.of(made).table.schema, check_metadata=True)


@pytest.mark.parametrize("missing", [field.name for field in dataclasses.fields(Row)])
def test_a_record_without_a_column_is_doubtful_unless_null_is_its_value(missing: str) -> None:
    records = records_of_few_rows()
    del records[3][missing]
    rows, doubtful = rows_from_records([*map(canonical, records)])
    if doubtful[3]:
        assert list(rows) in ([*few_rows()[:3], *few_rows()[4:]], [])
    else:
        assert list(rows)[3] == Row(**records[3])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("seed", True), ("seed", 1.0), ("seed", 2**63), ("epsilon", "0.1"), ("defense", 1), ("defense", "\ud800")),
        *(("status", "fine"), ("test_accuracy", 2.0), ("flags", "zero"), ("extra", [1]), ("extra", {"a": None})),
        *(("test_accuracy", True), ("epsilon", math.nan), ("extra", {"a": True}), ("extra", None), ("error", None)),
        *(("flags", [1]), ("flags", [None]), ("unknown", 1), ("cell_id", 16 * "1" + "\n")),
    ],
)
def test_records_that_a_row_would_refuse_are_doubtful(column: str, value: Any) -> None:
    records = records_of_few_rows()
    records[4][column] = value
    with pytest.raises((DataError, TypeError)):
        Row(**records[4])
    rows, doubtful = rows_from_records([*map(canonical, records)])
    assert doubtful[4]
    assert len(rows) == int((~doubtful).sum())


@pytest.mark.parametrize("change", [b"{}", b"[]", b"", b"\n", b" {", b"/**/"])
def test_texts_that_are_no_single_row_are_doubtful(change: bytes) -> None:
    texts = [*map(canonical, records_of_few_rows())]
    for at, text in ((0, change), (1, texts[1] + change), (2, change + texts[2])):
        rows, doubtful = rows_from_records([*texts[:at], text, *texts[at + 1 :]])
        assert doubtful[at] or (text.strip() == texts[at] and list(rows) == few_rows())
        assert len(rows) == int((~doubtful).sum())


def test_rows_of_rows_are_those_of_the_whole() -> None:
    rows = many_rows(100)
    part = rows.take(np.arange(50, 100)).where(np.arange(50) % 2 == 0)
    assert part.values("cell_id") == [f"{place:016x}" for place in range(50, 100, 2)]
    assert part.replaced("seed", range(25)).values("seed") == list(range(25))
    assert part.table.num_rows == len(part) == 25


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=4), st.data())
def test_rows_of_several_pieces_are_taken_like_a_list(sizes: list[int], data: st.DataObject) -> None:
    made, ends = few_rows(), [0, *np.cumsum(sizes).tolist()]
    made = [dataclasses.replace(made[at % 12], cell_id=f"{at:016x}") for at in range(ends[-1])]
    rows = Rows(pa.concat_tables([table_from_rows(made[a:b]) for a, b in pairwise(ends)] or [table_from_rows([])]))
    places = data.draw(st.lists(st.sampled_from(range(len(made))), max_size=40)) if made else []
    if data.draw(st.booleans()):
        places.sort()
    assert rows.take(places).table.to_pylist() == table_from_rows([made[place] for place in places]).to_pylist()


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
