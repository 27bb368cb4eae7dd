"""What a dataset leaves out: every command that reads it says so on standard error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cli.conftest import Command
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
