"""The trained model of a row: loaded from its checkpoint, and refused if it is another one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from fitted_suites import fitted_experiments
from safetensors import safe_open
from safetensors.torch import save_file

import benchbench
from benchbench.contract import DataSource
from benchbench.errors import DataError, MissingDataError, StorageError, UsageError
from benchbench.leaderboard import published_rows
from benchbench.records import Row, RunStore
from benchbench.records.arrays import read_arrays
from benchbench.registry import load_registry

FITTED_SUITE = 'name = "fitted"\nprotocol = "fitted-1"\n' + fitted_experiments(epsilon=0.3, n_test=20)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    result = benchbench.run(
        "smoke", device="cpu", only="defense=at", runs=folder / "runs", leaderboards=folder / "boards"
    )
    assert result.finished == 1
    return folder


@pytest.fixture
def here(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to damage; no other leaderboards or runs are seen."""
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "copy"


@pytest.fixture
def row(here: Path) -> Row:
    (found,) = RunStore(here / "runs").rows()
    return found


def weights(here: Path, row: Row) -> Path:
    return here / "runs" / "models" / f"{row.model_id}.safetensors"


def test_model_gives_the_recorded_predictions(here: Path, row: Row) -> None:
    model = benchbench.load_model(row, runs=here / "runs")
    assert not model.training
    outcomes = read_arrays(here / "runs" / "outcomes" / f"{row.outcomes_digest}.parquet", row.outcomes_digest)
    assert outcomes is not None
    registry = load_registry()
    digits = registry.make("dataset", registry.resolve("dataset", "digits", {})).load(
        DataSource(root=here, cache=here / "cache")
    )
    images = digits.test.inputs[torch.as_tensor(outcomes["index"])].float() / 255
    with torch.no_grad():
        assert model(images).argmax(dim=1).tolist() == outcomes["prediction"].tolist()


def test_row_may_be_an_id_or_a_line_of_a_leaderboard(here: Path, row: Row) -> None:
    expected = benchbench.load_model(row, runs=here / "runs").state_dict()
    board = here / "boards" / "smoke.parquet"
    line = benchbench.read_leaderboard(board).to_pylist()[0]
    for found in (
        benchbench.load_model(row.cell_id[:6], runs=here / "runs"),
        benchbench.load_model(row.cell_id, leaderboard=str(board), runs=here / "runs"),
        benchbench.load_model(line, leaderboard=board, runs=here / "runs"),
    ):
        assert all(torch.equal(value, expected[name]) for name, value in found.state_dict().items())


def test_weights_beside_the_leaderboard_are_found(here: Path, row: Row) -> None:
    shutil.copytree(here / "runs" / "models", here / "boards" / "smoke" / "models")
    shutil.rmtree(here / "runs")
    assert benchbench.load_model(row, leaderboard=here / "boards" / "smoke.parquet", runs=here / "runs") is not None


def test_missing_weights_say_where_they_were_sought(here: Path, row: Row) -> None:
    weights(here, row).unlink()
    with pytest.raises(StorageError, match="are not at hand") as caught:
        benchbench.load_model(row, leaderboard=here / "boards" / "smoke.parquet", runs=here / "runs")
    assert f"sought {row.model_id}.safetensors in " in caught.value.hint
    assert str(here / "runs" / "models") in caught.value.hint
    assert str(here / "boards" / "smoke" / "models") in caught.value.hint


def retrained(path: Path) -> None:
    """Other weights with a true digest, as another training of the same model writes them."""
    from benchbench.training.checkpoint import read_checkpoint, write_checkpoint

    stored = read_checkpoint(path)
    assert stored is not None
    changed = {name: value + 1 for name, value in stored.tensors.items()}
    write_checkpoint(path, stored.model_id, changed, stored.position)


def tampered(path: Path) -> None:
    """Other weights under the old digest."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) + 1 for name in file.keys()}  # noqa: SIM118 - not a mapping
        metadata = file.metadata()
    save_file(tensors, path, metadata)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (retrained, "other weights than the row was measured on"),
        (tampered, "does not match its own digest"),
        (truncated, "is damaged"),
    ],
)
def test_other_weights_are_refused(here: Path, row: Row, change: object, said: str) -> None:
    assert callable(change)
    change(weights(here, row))
    with pytest.raises(DataError, match=said):
        benchbench.load_model(row, runs=here / "runs")


def test_earlier_weights_that_a_fresh_run_kept_are_found(here: Path, row: Row) -> None:
    store = RunStore(here / "runs")
    shutil.copy(weights(here, row), store.kept_path(row.model_id, store.weights_of(row.cell_id)))
    expected = benchbench.load_model(row, runs=here / "runs").state_dict()
    retrained(weights(here, row))
    found = benchbench.load_model(row, runs=here / "runs").state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_weights_of_another_run_of_the_cell_do_not_replace_those_of_the_row(here: Path, row: Row) -> None:
    """The runs folder is of a run with other weights; the row's own lie beside its leaderboard."""
    board = here / "boards" / "smoke.parquet"
    expected = benchbench.load_model(row, runs=here / "runs").state_dict()
    shutil.copytree(here / "runs" / "models", here / "boards" / "smoke" / "models")
    retrained(weights(here, row))
    shutil.rmtree(here / "runs" / "outcomes")
    RunStore(here / "runs").write_row(row, weights="digest of the other weights")
    found = benchbench.load_model(row, leaderboard=board, runs=here / "runs").state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    shutil.rmtree(here / "boards" / "smoke" / "models")
    with pytest.raises(StorageError, match="are not at hand"):
        benchbench.load_model(row, leaderboard=board, runs=here / "runs")


def test_row_without_a_model_is_refused(here: Path) -> None:
    with pytest.raises(UsageError, match="has no trained model: it is published"):
        benchbench.load_model(next(iter(published_rows("closer-look"))), runs=here / "runs")
    with pytest.raises(UsageError, match="no finished cell 'abcd'"):
        benchbench.load_model("abcd", runs=here / "runs")


def test_missing_data_are_named(here: Path, row: Row) -> None:
    import dataclasses

    from benchbench.cell.model import to_json
    from benchbench.cell.reading import read_cell

    cell = read_cell(row.configuration)
    dataset = load_registry().resolve("dataset", "mnist", {})
    moved = dataclasses.replace(cell, training=dataclasses.replace(cell.training, dataset=dataset))
    other = dataclasses.replace(row, configuration=to_json(moved))
    with pytest.raises(MissingDataError, match="mnist"):
        benchbench.load_model(other, runs=here / "runs", data=here)


def test_models_without_epochs_are_fitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fitted.toml").write_text(FITTED_SUITE)
    result = benchbench.run("fitted.toml", device="cpu", runs=tmp_path / "runs", leaderboards=tmp_path)
    fitted = [row for row in result.rows if row.status == "ok"]
    assert fitted
    for row in fitted:
        assert not benchbench.load_model(row, runs=tmp_path / "runs").training
