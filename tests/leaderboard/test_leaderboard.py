"""Leaderboards of older schemas beside today's, and large ones: linear time, and objects only of rows that are shown."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from many_rows import many_rows, processor_seconds
from sample_rows import make_row

import benchbench.records.rows
from benchbench.cell.reading import read_cell
from benchbench.checking.evidence import identity_findings
from benchbench.comparison.choosing import candidates
from benchbench.leaderboard import paper_tables, render_all, write_leaderboard
from benchbench.leaderboard.clearing import share_doubts
from benchbench.leaderboard.files import read_rows
from benchbench.leaderboard.merging import merge
from benchbench.leaderboard.rebuilding import rebuild
from benchbench.records import Row, Rows, RunStore

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


MOST_TIMES_LONGER = 25  # for ten times the rows; a loop over pairs would take a hundred times as long


def table(rows: Rows) -> object:
    return render_all(paper_tables(rows), "csv")


def merged(rows: Rows) -> object:
    return merge({"a": rows, "b": rows[len(rows) // 2 :]})


def chosen(rows: Rows) -> object:
    return candidates(rows, [f"{3:016x}", "defense=trades,beta=6,seed=1"])


@pytest.mark.parametrize("work", [table, merged, chosen, share_doubts])
def test_time_is_linear_in_the_rows(work: Callable[[Rows], object]) -> None:
    few, many = many_rows(500), many_rows(5_000)
    assert processor_seconds(lambda: work(many)) < MOST_TIMES_LONGER * processor_seconds(lambda: work(few))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """The rows that became objects."""
    objects: list[Row] = []
    real = benchbench.records.rows.checked_row

    def counted(record: dict[str, object]) -> Row:
        objects.append(real(record))
        return objects[-1]

    monkeypatch.setattr(benchbench.records.rows, "checked_row", counted)
    return objects


def test_records_are_read_and_rebuilt_without_objects(tmp_path: Path, made: list[Row]) -> None:
    store = RunStore(tmp_path / "runs")
    for row in many_rows(20):
        store.write_row(row, weights="")
    made.clear()
    rows = rebuild(tmp_path / "closer-look.parquet", store, "closer-look")
    assert rows.having("source", "measured").sum() == 20
    assert made == []


def test_a_file_is_written_read_and_sorted_without_objects(tmp_path: Path, made: list[Row]) -> None:
    path = tmp_path / "closer-look.parquet"
    write_leaderboard(path, many_rows(3_000))
    rows = read_rows(path)
    assert len(rows) == 3_000
    assert len(set(rows.values("cell_id"))) == 3_000
    assert len(made) <= 1  # the first row, for its suite


def test_a_table_and_a_merger_make_objects_of_few_rows(made: list[Row]) -> None:
    rows = many_rows(3_000)
    assert sum(len(group.lines) for one in paper_tables(rows, each_seed=True) for group in one.groups) == 3_000
    result = merge({"a": rows, "b": rows})
    assert (len(result.rows), result.repeated, result.conflicts) == (3_000, 3_000, ())
    assert len(made) <= 10  # one of each setting


def test_a_cut_table_has_the_first_lines_of_the_whole_one_and_counts_the_others() -> None:
    rows = many_rows(1_000)
    (whole,), (cut,) = paper_tables(rows, each_seed=True), paper_tables(rows, most=100, each_seed=True)
    assert [line for group in cut.groups for line in group.lines] == list(whole.lines)[:100]
    assert (cut.left_out, whole.left_out) == (900, 0)
    (whole,), (cut,) = paper_tables(rows), paper_tables(rows, most=100)
    assert list(cut.lines) == list(whole.lines)[:100]
    assert cut.left_out == sum(1 for _ in whole.lines) - 100 > 0
