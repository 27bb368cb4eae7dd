"""Large leaderboards: linear time, and objects only of rows that are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from many_rows import many_rows, processor_seconds

import benchbench.records.rows
from benchbench.comparison.choosing import candidates
from benchbench.leaderboard import paper_tables, read_rows, render_all, write_leaderboard
from benchbench.leaderboard.clearing import share_doubts
from benchbench.leaderboard.merging import merge
from benchbench.leaderboard.rebuilding import rebuild
from benchbench.records import Row, Rows, RunStore

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
