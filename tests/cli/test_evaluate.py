"""``benchbench evaluate``: a model of the user's own, its weights from a file that is not trusted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from cli.conftest import Command
from safetensors.torch import save_file
from torch import nn

DIGITS = ("evaluate", "--dataset", "digits", "--n-test", "20", "--epsilon", "0.05")
MINE = """
import torch

def network(classes, width=4):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, width), torch.nn.Linear(width, classes))

def other():
    return 7

def broken():
    raise ZeroDivisionError("mine")
"""


def linear() -> nn.Module:
    """The network that MINE makes, with some weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(256, 4), nn.Linear(4, 10))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's in the current folder."""
    (tmp_path / "my_networks.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    return "my_networks"


@pytest.mark.parametrize("kind", ["safetensors", "state_dict", "nested", "parallel"])
def test_every_kind_of_weights_gives_the_same_result(command: Command, module: str, tmp_path: Path, kind: str) -> None:
    weights = linear().state_dict()
    file = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pt")
    if kind == "safetensors":
        save_file(weights, file)
    elif kind == "parallel":
        torch.save({f"module.{name}": tensor for name, tensor in weights.items()}, file)
    else:
        torch.save({"epoch": 3, "state_dict": weights} if kind == "nested" else weights, file)
    attacks = ("--attack", "pgd-10", "--attack", '{name = "pgd", steps = 2}')
    answer = command(*DIGITS, "--architecture", f"{module}:network", "--checkpoint", file, *attacks, "--json")
    assert answer.status == 0, answer.err
    document = answer.document
    assert (document["n_test"], document["epsilon"]) == (20, 0.05)
    assert document["attacks"]["pgd"]["options"]["steps"] == 2
    robust = [attack["adv_test_accuracy"] for attack in document["attacks"].values()]
    assert document["worst_case_accuracy"] <= min(robust) <= document["test_accuracy"]


@pytest.mark.parametrize("recorded", [(), ("--record", "mine")])
def test_command_says_why_a_metric_has_no_value(command: Command, tmp_path: Path, recorded: tuple[str, ...]) -> None:
    (tmp_path / "curved.py").write_text(
        MINE.replace("width), torch.nn.Linear", "width), torch.nn.GELU(), torch.nn.Linear")
    )
    save_file(
        {name.replace("2.", "3."): one for name, one in linear().state_dict().items()}, tmp_path / "weights.safetensors"
    )
    asked = (*DIGITS, "--architecture", "curved.py:network", "--checkpoint", "weights.safetensors",
             "--metric", "certified-accuracy", *recorded)  # fmt: skip
    answer = command(*asked)
    assert answer.status == 0, answer.err
    assert answer.out.splitlines()[-1] == "certified-accuracy: no bound: GELU at 2"
    (attack,) = command(*asked, "--json").document["attacks"].values()
    assert attack["notes"] == {"certified-accuracy": "no bound: GELU at 2"}


def test_command_says_which_weights_it_takes(command: Command, module: str, tmp_path: Path) -> None:
    raw = linear().state_dict()
    average = {name: torch.zeros_like(value) for name, value in raw.items()}
    torch.save({"ema": average, "model": raw}, tmp_path / "c.pt")
    arguments = ("--architecture", f"{module}:network", "--checkpoint", tmp_path / "c.pt")
    for evaluate in (DIGITS, ("parity", *DIGITS[1:])):
        first, other = (
            command(*evaluate, *arguments, "--json"),
            command(*evaluate, *arguments, "--json", "--weights", "ema"),
        )
        assert first.status == 0, first.err
        assert "weights 'model' of" in first.err
        assert "it also holds ema: --weights KEY" in first.err
        assert "weights 'ema' of" in other.err
        assert first.document["test_accuracy"] != other.document["test_accuracy"]
    wrong = command(*DIGITS, *arguments, "--weights", "emma")
    assert (wrong.status, "did you mean 'ema'?" in wrong.err) == (2, True)


def test_checkpoint_for_other_data_names_the_recorded_ones(command: Command, tmp_path: Path) -> None:
    command("run", "--suite", "smoke", "--only", "defense=natural", "--runs", tmp_path / "runs")
    (checkpoint,) = (tmp_path / "runs" / "models").glob("*.safetensors")
    smaller = ("--dataset", '{name = "digits", scale = 1}', "--epsilon", "0.1", "--n-test", "20")
    answer = command("evaluate", *smaller, "--checkpoint", checkpoint)
    assert answer.status == 2
    assert "it was trained on other data, says its record: --dataset '{name = \"digits\", scale = 2}'" in answer.err
    assert "architecture" not in answer.err


def test_trained_checkpoint_of_a_run_is_evaluated_with_the_protocol_threat(command: Command, tmp_path: Path) -> None:
    command("run", "--suite", "smoke", "--only", "defense=natural", "--runs", tmp_path / "runs")
    (checkpoint,) = (tmp_path / "runs" / "models").glob("*.safetensors")
    answer = command(
        "evaluate", "--dataset", "digits", "--architecture", "mlp", "--checkpoint", checkpoint, "--n-test", "20"
    )
    assert answer.status == 0, answer.err
    assert "digits, 20 test examples, linf epsilon 0.1" in answer.out
    assert "pgd-10" in answer.out


def test_options_of_a_registered_architecture(command: Command, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 6), nn.ReLU(), nn.Linear(6, 10))
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    answer = command(
        *DIGITS, "--architecture", '{name = "mlp", hidden = [5]}', "--checkpoint", tmp_path / "w.safetensors"
    )
    assert answer.status == 2
    assert "(6, 256) instead of (5, 256)" in answer.err


class Bomb:
    """Unpickling it runs a command."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.trace}",)


def test_pickle_bomb_is_refused(command: Command, module: str, tmp_path: Path) -> None:
    torch.save({"weight": Bomb(tmp_path / "trace")}, tmp_path / "bomb.pt")
    for file in ("bomb.pt", "bomb.safetensors"):
        (tmp_path / file).write_bytes((tmp_path / "bomb.pt").read_bytes())
        answer = command(*DIGITS, "--architecture", f"{module}:network", "--checkpoint", tmp_path / file)
        assert answer.status == 2
        assert f"{file} " in answer.err
        assert "Traceback" not in answer.err
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "bad.pt"), (b"\x00" * 100, "bad.pt"), (b"PK\x03\x04" + b"\xff" * 50, "bad.pt")],
    ids=["empty", "zeros", "cut archive"],
)
def test_damaged_weights_are_reported(
    command: Command, module: str, tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "bad.pt").write_bytes(content)
    (tmp_path / "bad.safetensors").write_bytes(content)
    for file in ("bad.pt", "bad.safetensors"):
        answer = command(*DIGITS, "--architecture", f"{module}:network", "--checkpoint", tmp_path / file)
        assert answer.status == 2
        assert file in answer.err


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("mpl", "unknown architecture 'mpl'\n  did you mean 'mlp'?"),
        ("timm:resnet5O", "did you mean 'timm:resnet50'"),
        ("my_networks.py", "architecture 'my_networks.py' is a file\n  name a callable in it: my_networks.py:CALLABLE"),
        ("no_module:network", "cannot import 'no_module:network': No module named 'no_module'"),
        ("my_networks:netwerk", "has no attribute 'netwerk'"),
        ("my_networks:other", "made a int, expected: nn.Module"),
        ("my_networks:broken", "raised ZeroDivisionError: mine"),
        ('{name = "mlp", hiden = [5]}', "did you mean 'hidden'?"),
        ('{nam = "mlp"}', "has no name"),
        ("{name", "is not a TOML inline table"),
    ],
)
@pytest.mark.usefixtures("module")
def test_mistaken_architecture_is_reported(command: Command, architecture: str, message: str) -> None:
    answer = command(*DIGITS, "--architecture", architecture, "--checkpoint", "nowhere.pt")
    assert answer.status == 2
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_dataset_without_a_protocol_needs_an_epsilon(command: Command) -> None:
    image_folder = '{name = "image-folder", path = "."}'
    answer = command("evaluate", "--dataset", image_folder, "--architecture", "mlp", "--checkpoint", "nowhere.pt")
    assert answer.status == 2
    assert "no radius for dataset 'image-folder'" in answer.err
    assert "--norm linf --epsilon 8/255" in answer.err


@pytest.mark.parametrize("name", ["evaluate", "parity"])
def test_a_norm_without_a_protocol_radius_needs_one(command: Command, name: str) -> None:
    answer = command(name, "--dataset", "digits", "--architecture", "mlp", "--checkpoint", "nowhere.pt", "--norm", "l2")
    assert answer.status == 2
    assert "the protocol has no l2 radius for dataset 'digits'" in answer.err
    assert "--norm l2 --epsilon 128/255" in answer.err


@pytest.mark.parametrize("name", ["evaluate", "parity"])
@pytest.mark.parametrize(
    ("norm", "radius", "expected"),
    [
        ((), "8", "did you mean 8/255?"),
        (("--norm", "l2"), "16.5", "did you mean 16.5/255?"),
        ((), "0", "must be above 0"),
        ((), "-1", "at least 0"),
        ((), "8/o", "expected a number or a fraction such as 8/255, got '8/o'"),
    ],
)
def test_a_radius_that_means_nothing_is_refused(
    command: Command, module: str, tmp_path: Path, name: str, norm: tuple[str, ...], radius: str, expected: str
) -> None:
    save_file(linear().state_dict(), tmp_path / "w.safetensors")
    threat = (*norm, "--epsilon", radius)
    model = ("--architecture", f"{module}:network", "--checkpoint", tmp_path / "w.safetensors")
    answer = command(name, "--dataset", "digits", *model, "--n-test", "5", *threat)
    assert answer.status == 2
    assert expected in answer.err


@pytest.mark.parametrize("name", ["evaluate", "parity"])
def test_norm_and_fraction_reach_the_attack(command: Command, module: str, tmp_path: Path, name: str) -> None:
    save_file(linear().state_dict(), tmp_path / "w.safetensors")
    model = ("--architecture", f"{module}:network", "--checkpoint", tmp_path / "w.safetensors")
    document = command(
        name, "--dataset", "digits", *model, "--n-test", "5", "--norm", "l2", "--epsilon", "8/255", "--json"
    ).document
    assert (document["norm"], document["epsilon"]) == ("l2", 8 / 255)
