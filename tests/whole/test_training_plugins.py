"""Suites that train as papers do it, with the distributions that show how: interrupted at any step, the same rows."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from plugin_sources import distributions, put_on_path
from rank_processes import as_ranks

import benchbench
from benchbench.cell.reading import read_cell
from benchbench.events import Event, Note, TrainingProgress
from benchbench.records import Row, RunStore
from benchbench.training.checkpoint import EpochRecord, read_checkpoint

SUITE = """
name = "papers"
protocol = "papers-1"

[[experiments]]
name = "digits"
dataset = { name = "digits", scale = 1 }
architectures = [{ name = "mlp", hidden = [8] }]
defenses = [DEFENSE]
attacks = ["pgd-10"]
metrics = ["accuracy", "adversarial-accuracy", "gaps"]
threat = { norm = "linf", epsilon = 0.05 }
recipe = { optimizer = "adam", learning_rate = 0.003, batch_size = 32, epochs = 3, weight_decay = 0.0RECIPE }
n_train = 100
n_train_evaluated = 20
n_test = 40
"""
HALF = '{ name = "at-extra", extra = { name = "digits", scale = 1 }, share = 0.5, steps = 2 }'
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "hat": (
        '{ name = "hat", helper_epochs = 2, steps = 2 }',
        ", validation = 10",
        {"n_train": 90, "n_validation": 10},
    ),
    "trades-ema": (
        '{ name = "trades-ema", decay = 0.9, validation = 0.2, steps = 2 }',
        ', schedule = "cosine", label_smoothing = 0.1',
        {"n_train": 80, "n_validation": 20, "checkpoint_selection": "best-robust", "weight_averaging": "ema-0.9"},
    ),
    "at-extra": (HALF, ', schedule = "cyclic"', {"n_extra": 1437}),
    "natural": (
        '"natural"',
        ', weight_averaging = "swa", swa_start = 1, validation = 10, checkpoint_selection = "best-clean", warm_up_epochs = 1',
        {"n_train": 90, "n_validation": 10, "checkpoint_selection": "best-clean", "weight_averaging": "swa-1"},
    ),
}
LABELS = {
    "hat": "HAT (beta=2.5, gamma=0.5)",
    "trades-ema": "TRADES-EMA (decay=0.9)",
    "at-extra": "AT with extra data (extra=digits (scale=1), share=0.5)",
}
PLAIN = {"n_train": 100, "n_validation": 0, "n_extra": 0, "checkpoint_selection": "last", "weight_averaging": "none"}


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for one in distributions():
        if one.name in ("benchbench-hat", "benchbench-trades-ema", "benchbench-extra-data"):
            put_on_path(one, tmp_path / "metadata", monkeypatch)
    for constant in ("CHECKPOINT_SECONDS", "REPORT_SECONDS"):
        monkeypatch.setattr(f"benchbench.training.loop.{constant}", 0.0)


def run(folder: Path, case: str, *, interrupt: int = 0, fresh: bool = False) -> tuple[Row, list[Event]]:
    """Run a case's cell; interrupt it after some steps. Returns its row and what was heard."""
    defense, recipe, _ = CASES[case]
    Path("papers.toml").write_text(SUITE.replace("DEFENSE", defense).replace("RECIPE", recipe))
    heard: list[Event] = []

    def listen(event: Event) -> None:
        heard.append(event)
        if interrupt and sum(isinstance(one, TrainingProgress) for one in heard) == interrupt:
            raise KeyboardInterrupt

    result = benchbench.run(
        "papers.toml",
        device="cpu",
        runs=folder / "runs",
        leaderboards=folder / "leaderboards",
        listener=listen,
        fresh=fresh,
    )
    assert result.failed == 0, result.failures
    (row,) = result.rows
    return row, heard


def histories_of(runs: Path) -> dict[str, tuple[EpochRecord, ...]]:
    """The histories of all trainings, those of helper networks too, by the file's name."""
    stored = {path.name: read_checkpoint(path) for path in (runs / "models").glob("*.safetensors")}
    return {name: one.position.history for name, one in stored.items() if one is not None}


def measures(row: Row) -> Row:
    return dataclasses.replace(row, train_seconds=None, evaluate_seconds=None, peak_memory_bytes=None)


@pytest.mark.parametrize("case", CASES)
def test_interrupted_training_gives_the_same_row_and_weights(case: str, tmp_path: Path) -> None:
    whole, heard = run(tmp_path / "whole", case)
    stated = {name: getattr(whole, name) for name in PLAIN}
    assert stated == PLAIN | CASES[case][2]
    assert whole.defense_label == LABELS.get(case, "")
    assert read_cell(whole.configuration).cell_id == whole.cell_id
    sittings = 0
    while True:  # two or three steps in each sitting
        try:
            resumed, _ = run(tmp_path / "parts", case, interrupt=3)
            break
        except KeyboardInterrupt:
            sittings += 1
            assert sittings < 12
    assert sittings >= 3
    assert measures(resumed) == measures(whole)
    stores = [RunStore(tmp_path / place / "runs") for place in ("whole", "parts")]
    assert stores[0].weights_of(whole.cell_id) == stores[1].weights_of(whole.cell_id) != ""
    histories = [histories_of(tmp_path / place / "runs") for place in ("whole", "parts")]
    assert histories[0] == histories[1]
    scores = [dataclasses.astuple(one.scores) for history in histories[0].values() for one in history]
    robust = case != "natural"  # which has no threat
    assert {(clean is not None, under is not None) for clean, under in scores} == {
        (whole.n_validation != 0, whole.n_validation != 0 and robust)
    }
    phases = [one.message for one in heard if isinstance(one, Note) and "phase" in one.message]
    assert phases == (["  phase before training: helper network"] if case == "hat" else [])


def test_fresh_run_trains_the_helper_network_again_and_finds_the_same(tmp_path: Path) -> None:
    first, heard = run(tmp_path, "hat")
    again, afresh = run(tmp_path, "hat", fresh=True)
    assert measures(first) == measures(again)
    steps = [sum(isinstance(event, TrainingProgress) for event in one) for one in (heard, afresh)]
    assert steps[0] == steps[1] > 0
    models = sorted((tmp_path / "runs" / "models").glob("*.safetensors"))
    assert len(models) == 2  # model and helper; no successor is left
    epochs = sorted(stored.position.epoch for path in models if (stored := read_checkpoint(path)) is not None)
    assert epochs == [2, 3]


def test_extra_data_that_differs_is_another_cell_and_unlike_data_are_refused(tmp_path: Path) -> None:
    first, _ = run(tmp_path, "at-extra")
    configuration = json.loads(first.configuration)["training"]
    assert configuration["extra_digest"] == configuration["dataset_digest"]  # here, the same data
    text = Path("papers.toml").read_text().replace('{ name = "digits", scale = 1 }, share', '"digits", share')
    Path("papers.toml").write_text(text)
    plan = benchbench.plan("papers.toml")
    (planned,) = plan.cells
    assert planned.status == "failed"
    assert "has other data than the experiment" in planned.reason


def test_recipe_on_mnist_learns(tmp_path: Path) -> None:
    """Averages and selection on real images, small: the best of five epochs is no worse than the last on held-out images."""
    defense, recipe, _ = CASES["trades-ema"]
    text = SUITE.replace("DEFENSE", defense).replace("RECIPE", recipe).replace("n_train = 100", "n_train = 600")
    text = text.replace('{ name = "digits", scale = 1 }', '"mnist"').replace("n_test = 40", "n_test = 100")
    Path("papers.toml").write_text(text.replace("hidden = [8]", "hidden = [64]").replace("epochs = 3", "epochs = 5"))
    (planned,) = benchbench.plan("papers.toml").cells
    if planned.status == "skipped":
        pytest.skip(planned.reason)
    result = benchbench.run("papers.toml", device="cpu", runs=tmp_path / "runs", leaderboards=tmp_path / "leaderboards")
    (row,) = result.rows
    assert row.adv_test_accuracy is not None
    assert row.adv_test_accuracy > 0.5
    stored = read_checkpoint(next((tmp_path / "runs" / "models").glob("*.safetensors")))
    assert stored is not None
    scores = [record.validation_robust_accuracy for record in stored.position.history]
    assert len(scores) == 5
    assert all(isinstance(score, float) for score in scores)
    assert torch.tensor(scores).max() > 0.5


def run_as_rank(folder: Path, paths: list[str]) -> tuple[float | None, list[str]]:
    """Robust accuracy of HAT's cell, and the notes of this rank."""
    sys.path[:0] = paths
    os.chdir(folder)
    row, heard = run(folder, "hat")
    return row.adv_test_accuracy, [event.message for event in heard if isinstance(event, Note)]


def test_ranks_wait_for_the_helper_network_and_all_load_it(tmp_path: Path) -> None:
    paths = sys.path[:2]  # what the fixture has put there
    alone, _ = run(tmp_path / "alone", "hat")
    folder = tmp_path / "ranks"
    folder.mkdir()
    (first, said), (second, silent) = as_ranks(2, run_as_rank, folder, paths)
    assert first == second == pytest.approx(alone.adv_test_accuracy, abs=0.05)
    assert "  phase before training: helper network" in said
    assert silent == []
    assert len(list((folder / "runs" / "models").glob("*.safetensors"))) == 2
