"""``benchbench compare``: two checkpoints on the same images, models and leaderboards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.conftest import Command, WriteSuite
from torch import nn

import benchbench

MINE = """
import torch

def network(classes, width=4):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, width), torch.nn.Linear(width, classes))
"""
DATA = ("--dataset", '{name = "digits", scale = 1}')
SMALL = ("--n-test", "100", "--epsilon", "0.02")
MakeFile = Callable[..., Path]


def network(seed: int, width: int = 4) -> nn.Module:
    """The network that MINE makes, with some weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, 10))


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeFile:
    """Write a checkpoint in the current folder, beside the module of its architecture."""
    (tmp_path / "my_pair.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, seed: int, width: int = 4) -> Path:
        torch.save({"model": network(seed, width).state_dict()}, tmp_path / name)
        return Path(name)

    return write


def test_two_checkpoints_are_paired_on_the_same_images(command: Command, make: MakeFile) -> None:
    files = (make("a.pt", 1), make("b.pt", 2))
    attacks = ("--attack", "pgd-10", "--attack", "mt-20")
    answer = command("compare", *files, *DATA, "--architecture", "my_pair:network", *SMALL, *attacks, "--json")
    assert answer.status == 0, answer.err
    document: dict[str, Any] = answer.document
    how: dict[str, Any] = {"dataset": {"name": "digits", "scale": 1}, "n_test": 100, "epsilon": 0.02}
    reports = [benchbench.evaluate(network(seed), attacks=["pgd-10", "mt-20"], **how) for seed in (1, 2)]
    clean, robust = document["differences"]
    assert clean["models"] == ["a.pt", "b.pt"]
    assert [clean["first"], clean["second"]] == [report.test_accuracy for report in reports]
    assert [robust["first"], robust["second"]] == [report.worst_case_accuracy for report in reports]
    assert robust["test"] == "McNemar"
    text = command("compare", *files, *DATA, "--architecture", "my_pair:network", *SMALL, "--quiet")
    assert text.status == 0
    assert text.out.splitlines()[0] == "digits, 100 test examples, linf epsilon 0.02, worst of pgd-10"
    assert "a.pt" in text.out
    assert "McNemar, 100 examples\n" in text.out


def test_each_checkpoint_may_have_its_own_architecture(command: Command, make: MakeFile) -> None:
    files = (make("a.pt", 1), make("b.pt", 2, width=6))
    networks = ("--architecture", "my_pair:network", "--architecture", '{name = "my_pair:network", width = 6}')
    assert command("compare", *files, *DATA, *networks, *SMALL).status == 0
    wrong = command("compare", *files, *DATA, *networks[:2], *SMALL)
    assert (wrong.status, "weights of another model" in wrong.err) == (2, True)
    three = command("compare", *files, make("c.pt", 3), *DATA, *networks, *SMALL)
    assert three.status == 2
    assert "3 checkpoints have 2 architectures" in three.err


def test_checkpoints_need_their_data_and_differ(command: Command, make: MakeFile) -> None:
    files = (make("a.pt", 1), make("b.pt", 2))
    bare = command("compare", *files, "--architecture", "my_pair:network")
    assert bare.status == 2
    assert "checkpoints are compared on the data of --dataset" in bare.err
    twice = command("compare", files[0], files[0], *DATA, "--architecture", "my_pair:network")
    assert twice.status == 2
    assert "one model alone cannot be compared" in twice.err


def test_python_gives_what_the_command_prints(command: Command, write_suite: WriteSuite, tmp_path: Path) -> None:
    suite = write_suite(defenses=["natural", {"name": "at"}])
    assert command("run", "--suite", suite).status == 0
    models = ("defense=natural", "defense=at")
    found = benchbench.compare(*models, leaderboards=tmp_path / "leaderboards")
    assert command("compare", *models, "--json").document == _as_json(found.document)
    ranked = benchbench.compare("leaderboards/tiny.parquet")
    assert command("compare", "leaderboards/tiny.parquet", "--json").document == _as_json(ranked.document)
    assert "robust accuracy" in command("compare", "leaderboards/tiny.parquet").out
    both = benchbench.compare("leaderboards/tiny.parquet", tmp_path / "leaderboards" / "tiny.parquet")
    assert len(both.records) == 2 * 2


def _as_json(value: object) -> Any:
    import json

    return json.loads(json.dumps(value))
