"""Certified training in a suite: interrupted at any step, the same weights; rows with both sides.

It takes some seconds, because it trains two models twice, through all of the host.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from plugin_sources import distributions, put_on_path

import benchbench
from benchbench.events import Event, TrainingProgress
from benchbench.records import Row, RunStore

SUITE = """
name = "proofs"
protocol = "proofs-1"

[defaults]
attacks = ["pgd-10"]
metrics = ["accuracy", "adversarial-accuracy", { name = "certified-accuracy", steps = 2, branches = 0 }]
recipe = { optimizer = "adam", learning_rate = 0.005, batch_size = 32, epochs = 3 }
n_train = 300
n_train_evaluated = 10
n_test = 20

[[experiments]]
name = "intervals"
dataset = { name = "digits", scale = 1 }
architectures = [{ name = "strided-cnn", channels = [4], hidden = 16 }]
defenses = [{ name = "ibp", ramp = 0.5 }]
threat = { norm = "linf", epsilon = 0.03 }

[[experiments]]
name = "lipschitz"
dataset = { name = "digits", scale = 1 }
architectures = [{ name = "lipschitz-mlp", hidden = [16], scale = 10.0 }]
defenses = ["natural"]
threat = { norm = "l2", epsilon = 0.1 }
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (one,) = [one for one in distributions() if one.name == "benchbench-certified"]
    put_on_path(one, tmp_path / "metadata", monkeypatch)
    for constant in ("CHECKPOINT_SECONDS", "REPORT_SECONDS"):
        monkeypatch.setattr(f"benchbench.training.loop.{constant}", 0.0)
    Path("proofs.toml").write_text(SUITE)


def run(folder: Path, *, interrupt: int = 0) -> tuple[Row, ...]:
    """Run the suite; interrupt it after some steps."""
    steps = 0

    def listen(event: Event) -> None:
        nonlocal steps
        steps += isinstance(event, TrainingProgress)
        if interrupt and steps == interrupt:
            raise KeyboardInterrupt

    result = benchbench.run(
        "proofs.toml", device="cpu", runs=folder / "runs", leaderboards=folder / "leaderboards", listener=listen
    )
    assert result.failed == 0, result.failures
    return tuple(result.rows)


def measures(row: Row) -> Row:
    return dataclasses.replace(row, train_seconds=None, evaluate_seconds=None, peak_memory_bytes=None)


def test_rows_have_both_sides_and_do_not_depend_on_interruptions(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    assert {(row.architecture, row.defense) for row in whole} == {
        ("strided-cnn", "ibp"),
        ("lipschitz-mlp", "natural"),
    }
    for row in whole:
        assert row.certified_test_accuracy is not None
        assert row.adv_test_accuracy is not None
        assert 0.1 < row.certified_test_accuracy <= row.adv_test_accuracy, row.defense
    sittings = 0
    while True:  # seventeen of some sixty steps in each sitting
        try:
            resumed = run(tmp_path / "parts", interrupt=18)
            break
        except KeyboardInterrupt:
            sittings += 1
            assert sittings < 30
    assert sittings >= 3
    assert {row.cell_id: measures(row) for row in resumed} == {row.cell_id: measures(row) for row in whole}
    stores = [RunStore(tmp_path / place / "runs") for place in ("whole", "parts")]
    for row in whole:
        assert stores[0].weights_of(row.cell_id) == stores[1].weights_of(row.cell_id) != ""
