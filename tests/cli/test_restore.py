"""``benchbench leaderboard restore``: a machine without the records goes on from a leaderboard's rows."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from cli.conftest import Command, WriteSuite, leaderboard

from benchbench.leaderboard import read_rows, write_leaderboard

BOARD = Path("leaderboards/tiny.parquet")


@pytest.fixture
def suite(command: Command, write_suite: WriteSuite) -> Path:
    """A suite whose two cells were computed on another machine, in the runs folder ``there``."""
    path = write_suite(attacks=["pgd-10", "fab"])
    assert command("run", path, "--runs", "there", "--jobs", "1").status == 0
    return path


def test_run_goes_on_from_restored_rows_and_leaves_the_same_bytes(
    command: Command, suite: Path, tmp_path: Path
) -> None:
    before = leaderboard(tmp_path, "tiny")
    answer = command("leaderboard", "restore", BOARD, "--runs", "here", "--json")
    assert (answer.status, len(answer.document["recorded"]), answer.document["present"]) == (0, 2, [])
    again = command("leaderboard", "restore", "tiny", "--runs", "here")
    assert again.out == "0 rows restored, 2 were finished: here\n"
    run = command("run", suite, "--runs", "here", "--jobs", "1", "--json")
    assert (run.document["finished"], run.document["cells"]["done"]) == (0, 2)
    assert leaderboard(tmp_path, "tiny") == before


def test_run_names_the_rows_that_it_computes_again(command: Command, suite: Path) -> None:
    assert "again although" not in command("run", suite, "--runs", "there", "--jobs", "1").err
    run = command("run", suite, "--runs", "here", "--only", "attack=fab", "--jobs", "1")
    assert f"1 cells are computed again although {BOARD} has their rows" in run.err
    assert f"benchbench leaderboard restore {BOARD}" in run.err


def test_a_further_attack_on_restored_weights_trains_nothing(command: Command, suite: Path) -> None:
    shutil.copytree("there/models", BOARD.with_suffix("") / "models")
    command("leaderboard", "restore", BOARD, "--runs", "here")
    (weights,) = Path("here/models").glob("*.safetensors")
    before = weights.stat().st_mtime_ns
    suite.write_text(suite.read_text().replace('"fab"', '"fab", "square"'))
    run = command("run", suite, "--runs", "here", "--jobs", "1", "--json")
    assert (run.status, run.document["finished"]) == (0, 1)
    assert weights.stat().st_mtime_ns == before


def test_a_row_without_outcomes_or_with_an_edited_column_is_computed(command: Command, suite: Path) -> None:
    rows = read_rows(BOARD)
    edited, bare = rows[0], rows[1]
    write_leaderboard(BOARD, [dataclasses.replace(edited, train_epsilon=0.2), bare])
    (BOARD.with_suffix("") / "outcomes" / f"{bare.outcomes_digest}.parquet").unlink()
    answer = command("leaderboard", "restore", BOARD, "--runs", "here")
    assert answer.status == 1
    assert f"cell {edited.cell_id}: its configuration has another train_epsilon" in answer.out
    assert f"cell {bare.cell_id}: its outcomes are not in" in answer.out
    assert command("run", suite, "--runs", "here", "--jobs", "1", "--json").document["finished"] == 2
