"""``benchbench plan``: cells with their state, reason and estimate, and the price of the grid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import Command, WriteSuite

import benchbench.pricing.cells
from benchbench.builtin.defenses.trades import Trades


def test_plan_tells_cells_with_short_labels_and_estimates(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite(defenses=["natural", {"name": "trades", "beta": 3.0}])
    answer = command("plan", "--suite", suite)
    assert answer.status == 0
    assert "trades (beta=3)" in answer.out
    assert "2 ready" in answer.err
    document = command("plan", "--suite", suite, "--json").document
    assert [cell["status"] for cell in document["cells"]] == ["ready", "ready"]
    assert document["estimated_seconds"] == pytest.approx(sum(cell["estimated_seconds"] for cell in document["cells"]))


def test_plan_says_for_how_many_cells_there_is_no_estimate(
    command: Command, write_suite: WriteSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = benchbench.pricing.cells.training_phases

    def refuse_trades(defense: object, *arguments: Any, **named: Any) -> object:
        if isinstance(defense, Trades):
            raise RuntimeError("it traces the network, and the one that counts passes cannot be traced")
        return counted(defense, *arguments, **named)

    monkeypatch.setattr(benchbench.pricing.cells, "training_phases", refuse_trades)
    suite = write_suite(defenses=["natural", {"name": "trades", "beta": 3.0}])
    assert "of work, and what has no estimate (1 of 2 cells)" in command("plan", "--suite", suite).err
    suite = write_suite(defenses=[{"name": "trades", "beta": 3.0}])
    said = command("plan", "--suite", suite).err
    assert "there is no estimate: the passes of these cells cannot be counted" in said
    assert "0.0 s of work" not in said


def test_plan_tells_what_is_done_and_what_is_skipped_and_why(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite(defenses=["natural", "at"])
    command("run", "--suite", suite, "--only", "defense=at")
    text = suite.read_text()
    svhn = text.partition("[[experiments]]")[2].replace('"digits"', '"svhn"').replace(", scale = 1", "")
    suite.write_text(f"{text}\n[[experiments]]{svhn}")
    answer = command("plan", "--suite", suite, "--json")
    cells = answer.document["cells"]
    assert [(cell["experiment"], cell["defense"], cell["status"]) for cell in cells] == [
        ("digits", "natural", "ready"),
        ("digits", "at", "done"),
        ("svhn", "natural", "skipped"),
        ("svhn", "at", "skipped"),
    ]
    assert "benchbench data fetch svhn" in cells[2]["reason"]
    assert command("plan", "--suite", suite).status == 0


def test_plan_with_a_failure_ends_with_status_1(command: Command, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte").write_bytes(b"damaged")
    only = ("--only", "dataset=mnist", "--only", "defense=natural")
    arguments = ("plan", "--suite", "closer-look", "--profile", "quick", *only, "--data", tmp_path, "--json")
    answer = command(*arguments)
    assert {cell["status"] for cell in answer.document["cells"]} == {"failed"}
    assert answer.status == 1


def test_plan_prices_the_whole_grid_also_for_a_device_timed_elsewhere(
    command: Command, write_suite: WriteSuite, tmp_path: Path
) -> None:
    suite, timings = write_suite(), tmp_path / "timings.json"
    here = command("plan", "--suite", suite, "--device", "cpu", "--save-timings", timings, "--json").document
    assert here["price"]["unit"] == "CPU-hours"
    assert here["price"]["total"]["hours"] == pytest.approx(
        sum(c["price"]["evaluate_seconds"] + c["price"]["train_seconds"] for c in here["cells"]) / 3600
    )
    document = json.loads(timings.read_text())
    assert document["device"] == here["price"]["device"]
    timings.write_text(json.dumps({**document, "device": "cuda (toaster)"}))
    there = command("plan", "--suite", suite, "--device", "cpu", "--timings", timings, "--json").document
    assert (there["price"]["unit"], there["price"]["device"]) == ("GPU-hours", "cuda (toaster)")
    assert there["price"]["total"]["seconds"] == pytest.approx(here["price"]["total"]["seconds"])
    lines = command("plan", "--suite", suite, "--timings", timings, "--cells").out.splitlines()
    (heading,) = [number for number, line in enumerate(lines) if "GPU-hours: training" in line]
    expected = ["digits", "mlp", "(hidden=[8])", "natural", "pgd-10", "linf", "0.1", "0"]
    assert lines[heading + 1].split()[:8] == expected
    assert sum("GPU-hours" in line for line in lines) == 2  # the cells one by one, and by experiment
    assert command("plan", "--suite", suite, "--timings", tmp_path / "none.json").status == 2


def test_plan_of_the_whole_suite_needs_no_data(command: Command) -> None:
    answer = command("plan", "--suite", "closer-look", "--json", "--only", "dataset=mnist,svhn")
    assert answer.status == 0
    assert {cell["status"] for cell in answer.document["cells"]} == {"skipped"}
