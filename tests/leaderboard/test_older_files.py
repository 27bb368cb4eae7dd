"""Leaderboards written in schemas 1 to 3 are read, merged, rebuilt and compared with today's."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from sample_rows import make_row

from benchbench.cell.reading import read_cell
from benchbench.checking.evidence import identity_findings
from benchbench.leaderboard import rebuild
from benchbench.leaderboard.files import read_rows
from benchbench.leaderboard.merging import merge
from benchbench.records import Row, RunStore, schema, table_from_rows
from benchbench.records.validity import rows_from_table

OLDER = Path(__file__).with_name("older")
FILES = tuple(sorted(OLDER.glob("schema-*.parquet")))
FIRST_TWO = FILES[:2]  # of equal measurements; those of schema 3 are newer, with its own columns filled


def measured(rows: list[Row]) -> dict[str, Row]:
    return {row.cell_id: row for row in rows if row.source == "measured"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_ids_of_older_rows_are_those_that_their_configurations_have_today(path: Path) -> None:
    rows = measured(read_rows(path))
    assert len(rows) > 10
    for row in rows.values():
        cell = read_cell(row.configuration)
        assert (cell.cell_id, cell.training.model_id) == (row.cell_id, row.model_id)
        assert identity_findings(row, cell) == []


@pytest.mark.parametrize("path", FIRST_TWO, ids=lambda path: path.stem)
def test_older_rows_were_trained_under_the_threat_of_the_attack_if_under_any(path: Path) -> None:
    for row in read_rows(path):
        used = row.defense not in ("natural", "gr")
        assert (row.train_norm, row.train_epsilon) == ((row.norm, row.epsilon) if used else ("", None))
        assert row.diagnostics == (1 if row.test_mse is None else 0)  # regressions have none


def test_rebuilding_an_older_file_keeps_its_rows_and_writes_todays_schema(tmp_path: Path) -> None:
    for path in FILES:
        before = measured(read_rows(path))
        board = tmp_path / path.name
        shutil.copy(path, board)
        rebuild(board, RunStore(tmp_path / "runs"), "closer-look")
        assert measured(read_rows(board)) == before


def test_older_files_merge_with_todays_and_equal_rows_are_no_conflict(tmp_path: Path) -> None:
    boards = {path.name: read_rows(path) for path in FIRST_TWO}
    rebuild(tmp_path / "today.parquet", RunStore(tmp_path / "runs"), "closer-look")
    merged = merge({**boards, "today": read_rows(tmp_path / "today.parquet")})
    assert merged.conflicts == ()
    assert merged.repeated >= sum(row.source == "published" for row in boards["schema-1.parquet"])
    assert measured(list(merged.rows)) == {k: row for rows in boards.values() for k, row in measured(rows).items()}


def test_file_of_schema_3_says_nothing_of_what_schema_4_added_and_its_published_zeros_become_unknown(
    tmp_path: Path,
) -> None:
    board = tmp_path / "closer-look.parquet"
    shutil.copy(OLDER / "schema-3.parquet", board)
    before = {row.cell_id: row for row in read_rows(board)}
    assert {row.card for row in before.values()} == {None}
    after = {row.cell_id: row for row in rebuild(board, RunStore(tmp_path / "runs"), "closer-look")}
    assert before.keys() <= after.keys()
    published = [row for row in after.values() if row.source == "published"]
    assert {row.seed for row in published} == {None}
    assert {before[row.cell_id].seed for row in published if row.cell_id in before} == {0}
    assert 0 not in {value for row in published for value in (row.n_train, row.epochs)}


def test_newer_diagnostics_win_in_either_order(tmp_path: Path) -> None:
    old = make_row(flags=("zero-gradients",), diagnostics=1)
    new = dataclasses.replace(old, flags=(), diagnostics=2)
    for boards in ({"a": [old], "b": [new]}, {"a": [new], "b": [old]}):
        merged = merge(boards)
        assert (merged.rows, merged.conflicts) == ((new,), ())
    store, board = RunStore(tmp_path / "runs"), tmp_path / "closer-look.parquet"
    store.write_row(new, weights="")
    rebuild(board, store, "closer-look")
    store.write_row(old, weights="")
    assert measured(rebuild(board, store, "closer-look")) == {new.cell_id: new}


def test_other_results_are_a_conflict_even_with_newer_diagnostics() -> None:
    old = make_row(test_accuracy=0.9)
    assert merge({"a": [old], "b": [make_row(test_accuracy=0.8, diagnostics=2)]}).conflicts


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_regression_measured_again_replaces_an_older_row(path: Path, tmp_path: Path) -> None:
    old = next(row for row in measured(read_rows(path)).values() if row.test_mse is not None)
    new = dataclasses.replace(old, adv_test_mse=0.4)
    store, board = RunStore(tmp_path / "runs"), tmp_path / "closer-look.parquet"
    shutil.copy(path, board)
    store.write_row(new, weights="")
    assert measured(rebuild(board, store, "closer-look"))[old.cell_id] == new


def test_rows_of_schema_3_get_the_new_columns_without_being_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [make_row(cell_id="one"), make_row(cell_id="two", defense="natural")]
    old = schema(3)
    assert len(old) < len(schema())
    table = table_from_rows(rows).select(old.names).cast(old)
    monkeypatch.setattr("benchbench.records.validity._checked", lambda *_: {})
    assert list(rows_from_table(table)) == rows
    assert (rows[0].weight_averaging, rows[0].n_validation, rows[0].n_extra) == ("none", 0, 0)
