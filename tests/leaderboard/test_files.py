"""Leaderboard files: sorted, deterministic, atomic, and checked when read."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sample_rows import make_row

from benchbench.errors import BenchbenchError, CorruptDataError, DataError, StorageError
from benchbench.leaderboard import published_rows, read_leaderboard, read_rows, write_leaderboard
from benchbench.records import schema, table_from_rows


def test_same_rows_in_any_order_give_the_same_bytes(tmp_path: Path) -> None:
    rows = list(published_rows())
    write_leaderboard(tmp_path / "a.parquet", rows)
    random.Random(0).shuffle(rows)
    write_leaderboard(tmp_path / "b.parquet", rows)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_rows_are_sorted_by_dataset_and_options_by_their_values(tmp_path: Path) -> None:
    rows = [
        make_row(cell_id=f"{number}", dataset=dataset, defense="trades", defense_options=f'{{"beta":{beta}}}')
        for number, (dataset, beta) in enumerate([("svhn", 1.0), ("mnist", 10.0), ("mnist", 3.0), ("mnist", 1e1)])
    ]
    write_leaderboard(tmp_path / "a.parquet", rows)
    found = [(row.dataset, row.defense_options, row.cell_id) for row in read_rows(tmp_path / "a.parquet")]
    assert found == [
        ("mnist", '{"beta":3.0}', "2"),
        ("mnist", '{"beta":10.0}', "1"),
        ("mnist", '{"beta":10.0}', "3"),
        ("svhn", '{"beta":1.0}', "0"),
    ]


def test_options_of_any_shape_can_be_sorted(tmp_path: Path) -> None:
    options = ["{}", '{"a":1}', '{"a":"x"}', '{"a":null}', '{"a":[1]}', '{"a":true}', "{broken", "", '{"b":1}']
    rows = [make_row(cell_id=str(number), defense_options=text) for number, text in enumerate(options)]
    assert len(write_leaderboard(tmp_path / "a.parquet", rows)) == len(options)


def test_rows_are_read_as_written(tmp_path: Path) -> None:
    rows = [make_row(test_accuracy=0.5, flags=("masked",), extra={"b": 2.0, "a": 1.0})]
    write_leaderboard(tmp_path / "a.parquet", rows)
    table = read_leaderboard(tmp_path / "a.parquet")
    assert read_rows(tmp_path / "a.parquet") == rows
    assert table.schema.equals(schema(), check_metadata=True)
    assert table.column("test_accuracy").to_pylist() == [0.5]


def test_unchanged_file_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_leaderboard(path, [make_row()])
    before = path.stat().st_mtime_ns, path.stat().st_ino
    write_leaderboard(path, [make_row()])
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_killed_writer_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    write_leaderboard(path, [make_row()])

    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_leaderboard(path, [make_row(seed=1)])
    monkeypatch.undo()
    assert read_rows(path) == [make_row()]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([make_row(), make_row(seed=1)], "0123456789abcdef is there twice"),
        ([make_row(), make_row(cell_id="ff", suite="other")], "closer-look, other"),
    ],
)
def test_contradicting_rows_are_not_written(tmp_path: Path, rows: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_leaderboard(tmp_path / "a.parquet", rows)
    assert not (tmp_path / "a.parquet").exists()


def _foreign() -> bytes:
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [1]}), buffer)
    return buffer.getvalue().to_pybytes()


def _with_version(version: bytes) -> bytes:
    table = table_from_rows([make_row()])
    buffer = pa.BufferOutputStream()
    metadata = {**table.schema.metadata, b"benchbench.schema_version": version}
    pq.write_table(table.replace_schema_metadata(metadata), buffer)
    return buffer.getvalue().to_pybytes()


def _wrongly_typed() -> bytes:
    table = table_from_rows([make_row()])
    place = table.schema.get_field_index("test_accuracy")
    buffer = pa.BufferOutputStream()
    pq.write_table(table.set_column(place, "test_accuracy", pa.array(["97%"])), buffer)
    return buffer.getvalue().to_pybytes()


def _truncated() -> bytes:
    return _with_version(b"1")[:-100]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", CorruptDataError, r"a\.parquet is empty"),
        (b"cell,accuracy\n", StorageError, "not a Parquet file"),
        (b"PAR1", CorruptDataError, "truncated or damaged"),
        (_truncated(), CorruptDataError, "truncated or damaged"),
        (_foreign(), StorageError, "not a benchbench leaderboard"),
        (_with_version(b"99"), StorageError, "schema version 99; this benchbench reads versions up to 4"),
        (_wrongly_typed(), StorageError, "'test_accuracy' has type string instead of double"),
    ],
)
def test_file_that_is_no_leaderboard_is_refused_and_left_alone(
    tmp_path: Path, content: bytes, error: type[Exception], message: str
) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        read_leaderboard(path)
    assert path.read_bytes() == content


def test_file_of_an_earlier_schema_is_read_and_its_rows_have_the_defaults_of_later_columns(tmp_path: Path) -> None:
    table = table_from_rows([make_row(train_precision="bf16", diagnostics=5)]).select(schema(1).names).cast(schema(1))
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    assert read_rows(path) == [make_row(train_precision="float32")]
    assert read_leaderboard(path).schema.equals(schema(), check_metadata=True)


def test_file_of_an_earlier_schema_has_no_later_columns(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(_with_version(b"1"))
    with pytest.raises(StorageError, match="'train_precision' is unknown"):
        read_rows(tmp_path / "a.parquet")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"there is no leaderboard .*a\.parquet"):
        read_leaderboard(tmp_path / "a.parquet")


def test_impossible_rows_are_reported_and_the_others_still_shown(tmp_path: Path) -> None:
    good = table_from_rows([make_row(cell_id="aa")]).to_pylist()[0]
    records = [
        good,
        good | {"cell_id": "bb", "test_accuracy": float("nan")},
        good | {"cell_id": "cc", "adv_test_accuracy": 97.0},
        good | {"cell_id": "dd", "suite": "other"},
        good | {"seed": 5},
        good | {"cell_id": "ee"},
    ]
    pq.write_table(pa.Table.from_pylist(records, schema=schema()), tmp_path / "a.parquet")
    before = (tmp_path / "a.parquet").read_bytes()
    problems: list[str] = []
    rows = read_rows(tmp_path / "a.parquet", on_problem=problems.append)
    assert [row.cell_id for row in rows] == ["aa", "ee"]
    assert len(problems) == 4
    assert "'test_accuracy'" in problems[0]
    assert (tmp_path / "a.parquet").read_bytes() == before


def test_every_bit_flip_gives_rows_or_a_clean_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_leaderboard(path, [make_row(test_accuracy=0.5)])
    content = path.read_bytes()
    for place in range(0, len(content), 151):
        path.write_bytes(content[:place] + bytes([content[place] ^ 8]) + content[place + 1 :])
        with contextlib.suppress(BenchbenchError):
            assert len(read_rows(path, on_problem=lambda problem: None)) <= 1


def test_committed_leaderboard_holds_the_published_rows() -> None:
    path = Path(__file__).resolve().parents[2] / "leaderboards" / "closer-look.parquet"
    committed = {row.cell_id: row for row in read_rows(path)}
    assert all(committed.get(row.cell_id) == row for row in published_rows())
