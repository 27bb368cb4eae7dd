"""``benchbench leaderboard restore``: a machine without the records goes on from a leaderboard's rows."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from cli.conftest import Command, WriteSuite, leaderboard

from benchbench import load_model
from benchbench.cell.model import DIAGNOSTICS
from benchbench.leaderboard import read_rows, write_leaderboard
from benchbench.records import RunStore
from benchbench.training.checkpoint import read_checkpoint, weights_digest, write_checkpoint

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
    assert f"1 cell to compute again although {BOARD} has the rows" in run.err
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
    assert f"cell {edited.cell_id}: column train_epsilon is 0.2, but the row's configuration says None" in answer.out
    assert f"cell {bare.cell_id}: its outcomes are not in" in answer.out
    assert command("run", suite, "--runs", "here", "--jobs", "1", "--json").document["finished"] == 2


def test_weights_that_are_not_the_models_are_left_out(command: Command, suite: Path) -> None:
    models = BOARD.with_suffix("") / "models"
    shutil.copytree("there/models", models)
    (weights,) = models.glob("*.safetensors")
    checkpoint = read_checkpoint(weights)
    assert checkpoint is not None
    write_checkpoint(weights, "another", checkpoint.tensors, checkpoint.position)
    answer = command("leaderboard", "restore", BOARD, "--runs", "here")
    assert (answer.status, answer.out) == (0, "2 rows restored, 0 were finished: here\n")
    assert "does not hold the trained model" in answer.err
    weights.write_bytes(weights.read_bytes()[:5000])
    answer = command("leaderboard", "restore", BOARD, "--runs", "elsewhere")
    assert (answer.status, answer.out) == (0, "2 rows restored, 0 were finished: elsewhere\n")
    assert "is damaged" in answer.err
    assert not [*Path("here").glob("models/*"), *Path("elsewhere").glob("models/*")]


def test_rows_and_their_weights_match_beside_other_weights_of_the_model(command: Command, suite: Path) -> None:
    shutil.copytree("there/models", BOARD.with_suffix("") / "models")
    shutil.copytree("there/models", "here/models")
    (weights,) = Path("here/models").glob("*.safetensors")
    checkpoint = read_checkpoint(weights)
    assert checkpoint is not None
    for tensor in checkpoint.state.values():
        tensor.add_(0.01)
    write_checkpoint(weights, checkpoint.model_id, checkpoint.tensors, checkpoint.position)
    assert command("leaderboard", "restore", BOARD, "--runs", "here").status == 0
    for row in read_rows(BOARD):
        model = load_model(row, leaderboard="elsewhere.parquet", runs="here")
        assert weights_digest(model.state_dict()) == RunStore(Path("there")).weights_of(row.cell_id)


def test_damaged_outcomes_in_the_runs_folder_are_replaced(command: Command, suite: Path) -> None:
    for name in [path.name for path in (BOARD.with_suffix("") / "outcomes").iterdir()]:
        (Path("here/outcomes") / name).parent.mkdir(parents=True, exist_ok=True)
        (Path("here/outcomes") / name).write_bytes(b"damaged")
    assert command("leaderboard", "restore", BOARD, "--runs", "here").out == "2 rows restored, 0 were finished: here\n"


def test_rows_of_older_diagnostics_are_restored_but_not_called_finished(command: Command, suite: Path) -> None:
    rows = read_rows(BOARD)
    write_leaderboard(BOARD, [dataclasses.replace(row, diagnostics=DIAGNOSTICS - 1) for row in rows])
    answer = command("leaderboard", "restore", BOARD, "--runs", "here")
    assert answer.status == 1
    assert "2 of them have flags of older diagnostics" in answer.out
    run = command("run", suite, "--runs", "here", "--jobs", "1")
    assert "computed again although" not in run.err  # to restore again would change nothing
    assert [row.diagnostics for row in read_rows(BOARD)] == [DIAGNOSTICS] * 2


def test_a_number_that_its_outcomes_contradict_is_not_restored(command: Command, suite: Path) -> None:
    rows = [*read_rows(BOARD)]
    write_leaderboard(BOARD, [dataclasses.replace(rows[0], adv_test_accuracy=1.0, adv_test_accuracy_high=1.0), rows[1]])
    answer = command("leaderboard", "restore", BOARD, "--runs", "here")
    assert (answer.status, f"cell {rows[0].cell_id}: adv_test_accuracy is 1.0, but" in answer.out) == (1, True)
