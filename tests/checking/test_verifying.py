"""Verify rows in several processes: the same verdicts in the same order; a process that dies is an error with a remedy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchbench.checking.verifying import verify
from benchbench.errors import BenchbenchError, UsageError
from benchbench.leaderboard import read_rows, write_leaderboard

COMMITTED = Path(__file__).parents[2] / "leaderboards"


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five rows of three models on digits, with their evidence."""
    folder = tmp_path_factory.mktemp("boards")
    rows = [row for row in read_rows(COMMITTED / "closer-look.parquet") if row.experiment == "digits"]
    methods = ("natural", "at", "gr")
    write_leaderboard(folder / "closer-look.parquet", [row for row in rows if row.defense in methods][:5])
    shutil.copytree(COMMITTED / "closer-look", folder / "closer-look")
    return folder / "closer-look.parquet"


def test_several_processes_come_to_the_same_verdicts_in_the_same_order(board: Path, tmp_path: Path) -> None:
    told: list[str] = []
    alone = verify(board, runs=tmp_path, device="cpu", seed=3)
    together = verify(board, runs=tmp_path, device="cpu", seed=3, jobs=2, done=lambda v: told.append(v.cell_id))
    assert together == alone
    assert {verdict.status for verdict in alone} == {"confirmed"}
    assert all(verdict.queries for verdict in alone)
    assert told == [verdict.cell_id for verdict in alone]


def test_a_process_that_dies_is_an_error_with_a_remedy(board: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("import multiprocessing, os\nmake = print\nif multiprocessing.parent_process():\n    os._exit(1)\n")
    with pytest.raises(BenchbenchError, match="a process that checked rows ended early") as caught:
        verify(board, runs=tmp_path, device="cpu", jobs=2, architecture=f"{own}:make")
    assert "--jobs 1" in str(caught.value)


def test_no_job_is_a_usage_error(board: Path) -> None:
    with pytest.raises(UsageError, match="expected one job"):
        verify(board, device="cpu", jobs=0)
