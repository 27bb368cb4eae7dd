"""Cells shared with other processes: what they recorded since this run began is taken over, failures included."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest
from run_processes import rows, run, write_suite
from sample_rows import make_cell

import benchbench.harness.scheduling
from benchbench.cell.model import Cell
from benchbench.contract.threat import Threat
from benchbench.events import CellFinished, CellStarted, Event, Note, RunStarted
from benchbench.harness.scheduling import cheap_first
from benchbench.records import Row, RunStore
from benchbench.records.claims import Claims


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchbench.harness.scheduling, "POLL_SECONDS", 0.05)


@pytest.fixture
def recorded(tmp_path: Path) -> Row:
    """The row of the one cell, computed elsewhere."""
    write_suite(tmp_path / "elsewhere", attacks=["pgd-10"], defenses=["natural"])
    run(tmp_path / "elsewhere")
    write_suite(tmp_path, attacks=["pgd-10"], defenses=["natural"])
    return RunStore(tmp_path / "elsewhere" / "runs").rows("tiny")[0]


def test_failure_in_another_process_is_a_failure_here_and_not_tried_again(tmp_path: Path, recorded: Row) -> None:
    store = RunStore(tmp_path / "runs")
    failed = dataclasses.replace(
        recorded, status="failed", error="it diverged", outcomes_digest="", witnesses_digest=""
    )
    told: list[Event] = []

    def other_process(event: Event) -> None:
        told.append(event)
        if isinstance(event, Note) and "waiting" in event.message:
            store.write_cell(failed)
            released.set()

    released, taken = threading.Event(), threading.Event()

    def hold() -> None:
        with Claims(tmp_path / "runs" / "claims").held(recorded.cell_id):
            taken.set()
            released.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(60)
    result = run(tmp_path, other_process)
    holder.join()
    assert [failure.error for failure in result.failures] == ["it diverged"]
    assert not any(isinstance(event, CellStarted) for event in told)
    again = run(tmp_path)
    assert (again.finished, again.failed) == (1, 0)


def test_cell_recorded_elsewhere_since_the_plan_was_made_is_not_computed(tmp_path: Path, recorded: Row) -> None:
    told: list[Event] = []

    def other_process(event: Event) -> None:
        told.append(event)
        if isinstance(event, RunStarted):
            for kind in ("cells", "outcomes", "witnesses"):
                (tmp_path / "elsewhere" / "runs" / kind).rename(tmp_path / "runs" / kind)

    (tmp_path / "runs").mkdir()
    result = run(tmp_path, other_process)
    assert (result.finished, result.failed, result.left) == (0, 0, 0)
    assert not any(isinstance(event, (CellStarted, CellFinished)) for event in told)
    assert any("computed by another process" in event.message for event in told if isinstance(event, Note))
    assert [row.cell_id for row in rows(tmp_path)] == [recorded.cell_id]


def test_cheap_models_of_an_experiment_come_first_by_what_all_their_cells_cost() -> None:
    def cells(seed: int, *radii: float, experiment: str = "one") -> list[Cell]:
        made = dataclasses.replace(make_cell(seed=seed), experiment=experiment)
        balls = [dataclasses.replace(made.evaluation, threat=Threat(epsilon=radius)) for radius in radii]
        return [dataclasses.replace(made, evaluation=ball) for ball in balls]

    twice, once, later = cells(0, 0.1, 0.2), cells(1, 0.1), cells(2, 0.1, experiment="two")
    estimates = {cell.cell_id: 5.0 for cell in twice} | {once[0].cell_id: 8.0, later[0].cell_id: 1.0}
    assert cheap_first([*twice, *once, *later], estimates) == [*once, *twice, *later]
