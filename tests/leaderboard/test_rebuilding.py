"""Rebuilding a leaderboard from the records."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sample_rows import make_row

from benchbench.errors import StorageError
from benchbench.leaderboard import outcomes_folder, published_rows, read_rows, rebuild, rebuilding, write_leaderboard
from benchbench.leaderboard.rebuilding import _merged
from benchbench.records import Rows, RunStore, schema, table_from_rows
from benchbench.records.arrays import read_arrays

SUITE = "closer-look"


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leaderboards" / "closer-look.parquet"


def _measured(path: Path) -> dict[str, float | None]:
    return {row.cell_id: row.test_accuracy for row in read_rows(path) if row.source == "measured"}


def test_new_leaderboard_holds_records_and_published_rows(store: RunStore, path: Path) -> None:
    store.write_cell(make_row(test_accuracy=0.5))
    rows = rebuild(path, store, SUITE)
    assert rows == read_rows(path)
    assert len(rows) == 1 + len(published_rows())


def test_records_replace_rows_of_their_cell_and_others_stay(store: RunStore, path: Path) -> None:
    write_leaderboard(path, [make_row(test_accuracy=0.1), make_row(cell_id="ee", test_accuracy=0.2)])
    store.write_cell(make_row(test_accuracy=0.5))
    store.write_cell(make_row(cell_id="ff", suite="another", test_accuracy=0.9))
    rebuild(path, store, SUITE)
    assert _measured(path) == {"0123456789abcdef": 0.5, "ee": 0.2}


def test_published_rows_of_an_older_version_are_replaced(store: RunStore, path: Path) -> None:
    write_leaderboard(path, [make_row(source="published", cell_id="published-old")])
    rebuild(path, store, SUITE)
    assert {row.cell_id for row in read_rows(path)} == {row.cell_id for row in published_rows()}


def test_other_suites_have_no_published_rows(store: RunStore, path: Path) -> None:
    store.write_cell(make_row(suite="mine"))
    assert [row.suite for row in rebuild(path, store, "mine")] == ["mine"]


def test_failed_record_does_not_replace_a_finished_row(store: RunStore, path: Path) -> None:
    write_leaderboard(path, [make_row(test_accuracy=0.1)])
    store.write_cell(make_row(status="failed", error="out of memory"))
    rebuild(path, store, SUITE)
    assert _measured(path) == {"0123456789abcdef": 0.1}


def test_rebuilding_twice_changes_nothing(store: RunStore, path: Path) -> None:
    store.write_cell(make_row(test_accuracy=0.5), {"index": [0, 1]})
    rebuild(path, store, SUITE)
    before = path.read_bytes()
    rebuild(path, store, SUITE)
    assert path.read_bytes() == before


def test_outcomes_are_copied_beside_the_leaderboard(store: RunStore, path: Path) -> None:
    row = store.write_cell(make_row(), {"index": [0, 1]})
    rebuild(path, store, SUITE)
    arrays = read_arrays(outcomes_folder(path, SUITE) / f"{row.outcomes_digest}.parquet", row.outcomes_digest)
    assert arrays is not None
    assert arrays["index"].tolist() == [0, 1]
    assert outcomes_folder(path, SUITE) == path.parent / "closer-look" / "outcomes"


@pytest.mark.parametrize("cell_id", ["aa", "bb"], ids=["replaced", "new"])
def test_record_that_comes_in_meanwhile_is_not_lost(
    store: RunStore, path: Path, monkeypatch: pytest.MonkeyPatch, cell_id: str
) -> None:
    store.write_cell(make_row(cell_id="aa", test_accuracy=0.1))
    listed, looks = store.rows, 0

    def slow(suite: str) -> list:
        nonlocal looks
        rows, looks = listed(suite), looks + 1
        if looks == 1:
            RunStore(store.root).write_cell(make_row(cell_id=cell_id, test_accuracy=0.2))
        return rows

    monkeypatch.setattr(store, "rows", slow)
    rebuild(path, store, SUITE)
    assert _measured(path) == {"aa": 0.1} | {cell_id: 0.2}


def test_runs_of_two_folders_that_end_at_once_lose_no_row(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_have_read = threading.Barrier(2)

    def merged(*arguments: Any) -> Rows:
        with contextlib.suppress(threading.BrokenBarrierError):
            both_have_read.wait(timeout=1)
        return _merged(*arguments)

    monkeypatch.setattr(rebuilding, "_merged", merged)
    stores = [RunStore(tmp_path / name) for name in ("mine", "theirs")]
    for store in stores:
        store.write_cell(make_row(cell_id=store.root.name, test_accuracy=0.5))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda store: rebuild(path, store, SUITE), stores))
    assert _measured(path) == {"mine": 0.5, "theirs": 0.5}


def test_damaged_leaderboard_is_kept_aside_and_rebuilt(store: RunStore, path: Path) -> None:
    store.write_cell(make_row(test_accuracy=0.5))
    rebuild(path, store, SUITE)
    whole = path.read_bytes()
    path.write_bytes(whole[:-50])
    problems: list[str] = []
    rebuild(path, store, SUITE, on_problem=problems.append)
    assert path.read_bytes() == whole
    assert path.with_name(f"{path.name}.corrupt").read_bytes() == whole[:-50]
    assert len(problems) == 1
    assert path.name in problems[0]


def test_leaderboard_with_impossible_rows_is_kept_aside(store: RunStore, path: Path) -> None:
    path.parent.mkdir()
    record = table_from_rows([make_row()]).to_pylist()[0] | {"test_accuracy": 97.0}
    pq.write_table(pa.Table.from_pylist([record], schema=schema()), path)
    before = path.read_bytes()
    problems: list[str] = []
    rebuild(path, store, SUITE, on_problem=problems.append)
    assert _measured(path) == {}
    assert path.with_name(f"{path.name}.corrupt").read_bytes() == before
    assert "'test_accuracy'" in problems[0]


def test_foreign_file_in_its_place_is_named_and_left_alone(store: RunStore, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"something else")
    with pytest.raises(StorageError, match=r"closer-look\.parquet"):
        rebuild(path, store, SUITE)
    assert path.read_bytes() == b"something else"
