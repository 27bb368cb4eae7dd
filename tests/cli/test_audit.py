"""``benchbench audit``: exit statuses, the document, and the table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli.conftest import Command
from safetensors.torch import save_file
from torch import nn

ARGUMENTS = ("--dataset", "digits", "--architecture", '{name = "mlp", hidden = [4]}', "--n-test", "24", "--quiet")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Weights of an untrained network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(256, 4), nn.ReLU(), nn.Linear(4, 10))
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_refuted_claim_is_status_1_with_witnesses(command: Command, checkpoint: Path, tmp_path: Path) -> None:
    answer = command("audit", checkpoint, "--accuracy", "0.9", *ARGUMENTS, "--images", tmp_path / "i.parquet", "--json")
    assert answer.status == 1, answer.err
    document = answer.document
    assert (document["refuted"], document["claimed"], document["n_test"]) == (True, 0.9, 24)
    assert document["p_value"] < 0.01
    assert document["bound"] <= document["test_accuracy"]
    assert [one["attack"] for one in document["tried"]] == ["pgd-10"]
    assert (tmp_path / "i.parquet").exists()


def test_claim_that_stands_is_status_0_and_says_what_was_tried(command: Command, checkpoint: Path) -> None:
    answer = command("audit", checkpoint, "--accuracy", "0.01", *ARGUMENTS)
    assert answer.status == 0, answer.err
    assert answer.out.splitlines()[-1].startswith("not refuted: 1.00% is claimed")
    assert all(name in answer.out for name in ("apgd-ce", "transfer", "square", "restarts"))


def test_impossible_claim_is_status_2(command: Command, checkpoint: Path) -> None:
    answer = command("audit", checkpoint, "--accuracy", "62", *ARGUMENTS)
    assert answer.status == 2
    assert "0.62 is 62%" in answer.err
