"""``benchbench data``, and what commands say of data: what is there, left out or damaged."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli.conftest import Command, WriteSuite
from PIL import Image
from safetensors.torch import save_file
from torch import nn

DATASET = '{name = "image-folder", path = "pets", grayscale = true}'
SUITE = f"""
name = "pets"
protocol = "pets-1"

[[experiments]]
name = "pets"
dataset = {DATASET}
architectures = [{{ name = "mlp", hidden = [4] }}]
defenses = ["natural"]
attacks = ["pgd-10"]
metrics = ["accuracy"]
threat = {{ epsilon = "8/255" }}
recipe = {{ learning_rate = 0.1, epochs = 1 }}
"""
NOTE = (
    "left out 2 files of other kinds than .bmp, .jpeg, .jpg, .pgm, .png, .ppm, .tif, .tiff, .webp: dog/8.gif, dog/9.gif"
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data root with a folder of images, two of which are GIFs."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "data" / "pets" / split / name).mkdir(parents=True)
            for number in range(4):
                image = Image.fromarray(rng.integers(0, 255, (4, 4), dtype=np.uint8))
                image.save(tmp_path / "data" / "pets" / split / name / f"{number}.png")
    for number in (8, 9):
        (tmp_path / "data" / "pets" / "test" / "dog" / f"{number}.gif").write_bytes(b"GIF")
    return tmp_path / "data"


def test_commands_on_a_suite_say_it_once(command: Command, data: Path, tmp_path: Path) -> None:
    (tmp_path / "pets.toml").write_text(SUITE)
    for name in ("plan", "run"):
        answer = command(name, "--suite", tmp_path / "pets.toml", "--data", data, "--device", "cpu", "--json")
        assert answer.status == 0, answer.err
        assert answer.err.count(NOTE) == 1
        assert answer.document["suite"] == "pets"


def test_commands_on_one_dataset_say_it(command: Command, data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 2))
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    model = ("--architecture", '{name = "mlp", hidden = [4]}', "--checkpoint", tmp_path / "w.safetensors")
    for arguments in (
        ("separation", DATASET),
        ("evaluate", "--dataset", DATASET, *model, "--epsilon", "0.1"),
        ("parity", "--dataset", DATASET, *model, "--epsilon", "0.1"),
        ("data", "fetch", DATASET),
    ):
        answer = command(*arguments, "--data", data)
        assert answer.status == 0, answer.err
        assert NOTE in answer.err


def test_verify_takes_options_and_shows_what_is_left_out(command: Command, data: Path) -> None:
    (found,) = command("data", "verify", DATASET, "--data", data, "--json").document
    assert (found["status"], found["n_train"], found["n_test"]) == ("available", 8, 8)
    assert NOTE in found["detail"]
    (named,) = command("data", "verify", "image-folder", "--data", data, "--json").document
    assert named["status"] == "needs options"
    mistaken = command("data", "verify", '{name = "image-folder", pth = "pets"}', "--data", data)
    assert (mistaken.status, "did you mean 'path'?" in mistaken.err) == (2, True)


def test_data_list_tells_states(command: Command) -> None:
    answer = command("data", "list", "--json")
    states = {entry["name"]: entry["status"] for entry in answer.document}
    assert (answer.status, states["digits"], states["svhn"]) == (0, "available", "missing")
    assert "benchbench data fetch svhn" in command("data", "list").out


def test_data_list_tells_what_to_do_about_missing_files(command: Command, data: Path) -> None:
    said = command("data", "list", "--data", data).out
    assert f"; benchbench data fetch svhn --data {data}\n" in said
    assert "\\n" not in said


def test_data_verify_reads_datasets(command: Command) -> None:
    answer = command("data", "verify", "digits", "--json")
    assert answer.status == 0
    assert (answer.document[0]["n_train"], answer.document[0]["n_test"]) == (1437, 360)


def test_data_verify_of_a_missing_dataset_fails(command: Command) -> None:
    assert command("data", "verify", "svhn").status == 1


def test_data_fetch_of_embedded_data_says_what_is_there(command: Command) -> None:
    answer = command("data", "fetch", "digits")
    assert answer.status == 0
    assert "digits: 1437 training and 360 test examples" in answer.out


def break_gzip(raw: Path) -> None:
    """Cut a gzipped file short."""
    whole = raw.read_bytes()
    raw.write_bytes(whole[: len(whole) // 2])


def flip_bit(raw: Path) -> None:
    """Change one pixel and compress again."""
    pixels = bytearray(gzip.decompress(raw.read_bytes()))
    pixels[20_000] ^= 1
    raw.write_bytes(gzip.compress(bytes(pixels), compresslevel=1))


@pytest.mark.parametrize("damage", [break_gzip, flip_bit])
def test_damaged_data_fails_its_cells_alone(
    command: Command, write_suite: WriteSuite, real_data: Path, tmp_path: Path, damage: Any
) -> None:
    shutil.copytree(real_data / "MNIST", tmp_path / "data" / "MNIST")
    damaged = next(
        path for path in (tmp_path / "data" / "MNIST" / "raw").iterdir() if path.name.startswith("t10k-images")
    )
    if damaged.suffix != ".gz":
        damaged.with_name(f"{damaged.name}.gz").write_bytes(gzip.compress(damaged.read_bytes(), compresslevel=1))
        damaged.unlink()
        damaged = damaged.with_name(f"{damaged.name}.gz")
    damage(damaged)
    suite = write_suite()
    experiment = suite.read_text().partition("[[experiments]]")[2]
    mnist = experiment.replace('"digits"', '"mnist"').replace(", scale = 1", "")
    suite.write_text(f"{suite.read_text()}\n[[experiments]]{mnist}")
    answer = command("run", "--suite", suite, "--data", tmp_path / "data", "--json")
    assert answer.status == 1
    assert "failed mnist: " in answer.err
    assert damaged.name in answer.err
    assert "Traceback" not in answer.err
    assert answer.document["not_planned"][0]["status"] == "failed"
    assert [row["dataset"] for row in answer.document["rows"]] == ["digits"]
    verified = command("data", "verify", "mnist", "--data", tmp_path / "data", "--json")
    assert (verified.status, verified.document[0]["status"]) == (1, "corrupt")
