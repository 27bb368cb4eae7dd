"""Verify rows, by several processes too, and the committed digits rows, in a fresh clone without a runs folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchbench.checking.verifying import verify
from benchbench.cli import invoke
from benchbench.errors import BenchbenchError, UsageError
from benchbench.leaderboard import read_rows, write_leaderboard
from benchbench.records import Row, checkpoint_name

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


LARGEST = 3 * 2**20  # bytes of all committed weights and witnesses but those of training on all of MNIST


def digits_rows() -> list[Row]:
    found = read_rows(COMMITTED / "closer-look.parquet")
    return [row for row in found if row.source == "measured" and row.dataset == "digits"]


def test_weights_and_witnesses_of_all_digits_rows_are_committed_and_small() -> None:
    folder = COMMITTED / "closer-look"
    rows = digits_rows()
    assert len(rows) == 31
    for row in rows:
        assert (folder / "outcomes" / f"{row.outcomes_digest}.parquet").is_file()
        assert (folder / "witnesses" / f"{row.witnesses_digest}.parquet").is_file()
        assert row.defense == "distance" or (folder / "models" / checkpoint_name(row.model_id)).is_file()


def test_weights_of_all_models_trained_on_all_of_mnist_are_committed_and_all_evidence_is_small() -> None:
    folder = COMMITTED / "closer-look"
    board = read_rows(COMMITTED / "closer-look.parquet")
    long = [row for row in board if (row.source, row.dataset, row.n_train) == ("measured", "mnist", 60_000)]
    (longest,) = (row for row in long if (row.epochs, row.architecture) == (160, "cnn2"))
    weights = {checkpoint_name(row.model_id) for row in long}
    its_images = f"{longest.witnesses_digest}.parquet"  # 10,000
    sizes = {path.name: path.stat().st_size for kind in ("witnesses", "models") for path in (folder / kind).iterdir()}
    assert {*weights, its_images} <= sizes.keys()
    assert sum(size for name, size in sizes.items() if name not in {*weights, its_images}) < LARGEST
    assert sum(sizes.values()) < 7 * LARGEST


@pytest.mark.parametrize("defense", ["natural", "at"])
def test_committed_digits_row_is_confirmed_and_its_model_attacked_again(
    defense: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = next(row for row in digits_rows() if (row.defense, row.attack) == (defense, "pgd-10"))
    write_leaderboard(tmp_path / "closer-look.parquet", [row])
    (tmp_path / "closer-look").symlink_to(COMMITTED / "closer-look")
    monkeypatch.setenv("BENCHBENCH_HOME", str(tmp_path / "nothing"))
    (verdict,) = verify(tmp_path / "closer-look.parquet", device="cpu", seed=0)
    assert verdict.status == "confirmed", verdict
    assert verdict.bound == row.adv_test_accuracy
    assert len(verdict.sampled) > 100
    assert invoke(["verify", str(tmp_path / "closer-look.parquet"), "--quiet", "--replay-only"]) == 0
