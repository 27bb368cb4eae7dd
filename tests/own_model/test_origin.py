"""Weights say which architecture they are of: in their own metadata, or by the run folder that they lie in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchbench.api import run
from benchbench.cli import invoke
from benchbench.errors import DataError, StorageError, UsageError
from benchbench.own_model.origin import recorded_architecture
from benchbench.registry import Registry, load_registry

SUITE = """
name = "tiny"
protocol = "tiny-1"

[[experiments]]
name = "digits"
dataset = { name = "digits", scale = 1 }
architectures = [{ name = "mlp", hidden = [5] }]
defenses = ["natural"]
attacks = ["pgd-10"]
metrics = ["accuracy"]
threat = { norm = "linf", epsilon = 0.1 }
recipe = { learning_rate = 0.001, epochs = 1 }
n_train = 100
n_test = 20
n_train_evaluated = 20
"""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a finished run, in its run folder."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.toml").write_text(SUITE, encoding="utf-8")
    run(str(folder / "tiny.toml"), device="cpu", runs=folder / "runs", leaderboards=folder / "boards")
    (found,) = (folder / "runs" / "models").glob("*.safetensors")
    return found


def weights(path: Path, **metadata: str) -> Path:
    save_file({"weight": torch.zeros(2)}, path, metadata)
    return path


def test_checkpoint_in_its_run_folder_is_known_by_the_records(checkpoint: Path, registry: Registry) -> None:
    assert recorded_architecture(checkpoint, registry) == {"name": "mlp", "hidden": (5,)}


def test_parity_and_evaluate_need_no_architecture_there(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = ["--dataset", '{name = "digits", scale = 1}', "--checkpoint", str(checkpoint)]
    arguments = [*dataset, "--epsilon", "0.1", "--n-test", "20", "--device", "cpu", "--json"]
    assert invoke(["parity", *arguments]) == 0
    names = [one["name"] for one in json.loads(capsys.readouterr().out)["implementations"]]
    assert names[:2] == ["benchbench", "foolbox"]
    assert invoke(["evaluate", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["architecture"] == "mlp"


def test_checkpoint_away_from_its_run_folder_asks_for_the_architecture(
    checkpoint: Path, registry: Registry, tmp_path: Path
) -> None:
    moved = shutil.copy(checkpoint, tmp_path / "moved.safetensors")
    with pytest.raises(UsageError, match=r"no record of model \w+ lies beside it\n.*--architecture"):
        recorded_architecture(moved, registry)


@pytest.mark.parametrize("said", ["cnn2", json.dumps({"name": "cnn2"})])
def test_file_says_it_itself(registry: Registry, tmp_path: Path, said: str) -> None:
    assert recorded_architecture(weights(tmp_path / "w.safetensors", architecture=said), registry) == {"name": "cnn2"}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("os:system", "unknown architecture 'os:system'"),
        ('{"name": 3}', "names no architecture"),
        ('{"name": "cnn2"', "no JSON"),
    ],
)
def test_file_must_not_name_code_or_nonsense(registry: Registry, tmp_path: Path, said: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        recorded_architecture(weights(tmp_path / "w.safetensors", architecture=said), registry)


def test_file_that_says_nothing_is_damaged_or_missing_is_told(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its metadata name none"):
        recorded_architecture(weights(tmp_path / "w.safetensors"), registry)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x00" * 40)
    with pytest.raises(DataError, match="cannot be read as weights"):
        recorded_architecture(damaged, registry)
    with pytest.raises(StorageError, match="no file"):
        recorded_architecture(tmp_path / "nothing.safetensors", registry)
