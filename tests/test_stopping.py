"""Budgets and signals: a run stops at a moment when nothing is lost, says what is left, and goes on later."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from run_processes import results, run, write_suite
from sample_rows import make_cell

import benchbench
from benchbench.errors import UsageError
from benchbench.events import CellFinished, CellStarted, EvaluationProgress, Event, Note, TrainingProgress
from benchbench.harness.clock import Clock
from benchbench.harness.scheduling import cheap_first
from benchbench.stopping import BUDGET_USED, Stopped, StopRequest, parse_duration
from benchbench.training.checkpoint import read_checkpoint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45s", 45.0),
        ("30m", 1800.0),
        ("2h", 7200.0),
        ("1h30m", 5400.0),
        ("1h1m1s", 3661.0),
        ("0.5m", 30.0),
        (" 2H ", 7200.0),
    ],
)
def test_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "-5m", "0s", "30m1h", "1e3s", "nan", "5 minutes"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no duration"):
        parse_duration(text)


def test_budget_is_due_a_little_before_its_end() -> None:
    assert not StopRequest().is_due()
    assert not StopRequest(3600).is_due()
    assert 3590 < StopRequest(3600).seconds_left <= 3595
    spent = StopRequest(0.0)
    assert spent.is_due()
    with pytest.raises(Stopped, match="budget"):
        spent.check()


def test_waiting_ends_when_somebody_asks_to_stop() -> None:
    stop = StopRequest()
    stop.request("enough")
    with pytest.raises(Stopped, match="enough"):
        stop.wait(60.0)


def test_cheap_models_of_each_experiment_come_first_with_their_cells_together() -> None:
    cells = [
        dataclasses.replace(make_cell(seed=seed), experiment=name)
        for name, seeds in (("one", (0, 1, 2)), ("two", (3, 4, 5)))
        for seed in seeds
    ]
    costs = [3.0, 1.0, 2.0, 1.0, 9.0, 0.5]
    ordered = cheap_first(cells, {cell.cell_id: cost for cell, cost in zip(cells, costs)})
    assert [(cell.experiment, cell.training.seed) for cell in ordered] == [
        ("one", 1),
        ("one", 2),
        ("one", 0),
        ("two", 5),
        ("two", 3),
        ("two", 4),
    ]


MOMENTS = {
    "in training": lambda event: isinstance(event, TrainingProgress),
    "in evaluation": lambda event: isinstance(event, EvaluationProgress),
    "between cells": lambda event: isinstance(event, CellFinished),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_run_that_is_asked_to_stop_keeps_what_is_done_and_goes_on_later(tmp_path: Path, moment: str) -> None:
    for place in ("stopped", "alone"):
        write_suite(tmp_path / place)
    stop = StopRequest()
    told: list[Event] = []

    def listen(event: Event) -> None:
        told.append(event)
        if MOMENTS[moment](event):
            stop.request("enough")

    result = run(tmp_path / "stopped", listen, stop=stop)
    assert (result.stopped, result.failed) == ("enough", 0)
    assert result.left == 4 - result.finished > 0
    assert f"enough: {result.left} cells left" in [e.message for e in told if isinstance(e, Note)][-1]
    assert list((tmp_path / "stopped" / "runs" / "claims").iterdir()) == []
    again = run(tmp_path / "stopped")
    assert (again.left, again.finished) == (0, result.left)
    run(tmp_path / "alone")
    assert results(tmp_path / "stopped") == results(tmp_path / "alone")


def test_checkpoint_is_written_at_the_step_where_training_stops(tmp_path: Path) -> None:
    write_suite(tmp_path, defenses=["at"])
    stop = StopRequest()
    stop.is_due = iter([False, False, True, True, True]).__next__  # type: ignore[method-assign] # sweep, epoch, step 1
    run(tmp_path, stop=stop)
    (path,) = (tmp_path / "runs" / "models").iterdir()
    stored = read_checkpoint(path)
    assert stored is not None
    assert (stored.position.epoch, stored.position.step) == (0, 1)


def test_cell_that_does_not_fit_waits_for_those_that_do_and_is_still_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(tmp_path, defenses=["natural", "at"])
    plan = benchbench.plan(str(tmp_path / "tiny.toml"), device="cpu", runs=tmp_path / "runs")
    long = {planned.identity["cell_id"] for planned in plan.cells if planned.identity["defense"] == "natural"}
    monkeypatch.setattr(Clock, "predicted", lambda _, cell_id: 1e6 if cell_id in long else 0.0)
    told: list[Event] = []
    result = run(tmp_path, told.append, stop=StopRequest(1000.0))
    assert (result.left, result.finished) == (0, 4)
    begun = [event.label.split(",")[0].split()[-1] for event in told if isinstance(event, CellStarted)]
    assert begun == ["at", "at", "natural", "natural"]


def test_spent_budget_begins_nothing_and_is_no_failure(tmp_path: Path) -> None:
    write_suite(tmp_path)
    result = run(tmp_path, stop=StopRequest(0.0))
    assert (result.left, result.finished, result.failed, result.stopped) == (4, 0, 0, BUDGET_USED)
