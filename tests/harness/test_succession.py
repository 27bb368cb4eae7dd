"""A fresh run takes nothing away before it has something better: rows and the weights they were measured on stay together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from run_processes import results, rows, run, shift, write_suite

import benchbench.harness.cells
from benchbench.cell.reading import read_cell
from benchbench.checking.verifying import verify
from benchbench.errors import TrainingError
from benchbench.events import CellFinished, EvaluationProgress, Event, Note, TrainingProgress, TrainingStarted
from benchbench.leaderboard.rebuilding import describe_failed_attempts
from benchbench.records import Provenance, RunStore, failed_row


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run of one model under two attacks."""
    write_suite(tmp_path, defenses=["natural"], epochs=4)
    run(tmp_path)
    return tmp_path


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is trained from now on gets other weights, as on another machine."""
    initialise = benchbench.harness.cells.initialise
    monkeypatch.setattr(benchbench.harness.cells, "initialise", lambda *given: shift(initialise(*given)))


def verdicts(folder: Path) -> list[str]:
    found = verify(folder / "leaderboards" / "tiny.parquet", runs=folder / "runs", device="cpu")
    return [verdict.status for verdict in found]


def models(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "runs" / "models").iterdir()}


def interrupted(folder: Path, moment: Callable[[Event], bool], **arguments: object) -> list[Event]:
    heard: list[Event] = []

    def listen(event: Event) -> None:
        heard.append(event)
        if moment(event):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, listen, **arguments)
    return heard


def in_the_third_epoch(event: Event) -> bool:
    return isinstance(event, TrainingProgress) and event.epoch == 2


def in_the_evaluation(event: Event) -> bool:
    return isinstance(event, EvaluationProgress)


@pytest.mark.parametrize("moment", [in_the_third_epoch, in_the_evaluation])
def test_interrupted_fresh_run_leaves_rows_that_verify_and_the_next_one_goes_on(
    folder: Path, elsewhere: None, moment: Callable[[Event], bool]
) -> None:
    before, recorded = models(folder), results(folder)
    interrupted(folder, moment, fresh=True)
    assert before.items() <= models(folder).items()
    assert run(folder).finished == 0  # without --fresh, all cells are done
    assert results(folder) == recorded
    assert verdicts(folder) == ["confirmed", "confirmed"]
    heard: list[Event] = []
    assert run(folder, heard.append, fresh=True).finished == 2
    begun = [event.epoch for event in heard if isinstance(event, TrainingStarted)]
    assert begun[0] >= 2
    assert sum("going on with the fresh training" in event.message for event in heard if isinstance(event, Note)) == 1
    assert verdicts(folder) == ["confirmed", "confirmed"]
    assert models(folder).keys() == before.keys()
    assert models(folder) != before
    heard.clear()
    run(folder, heard.append, fresh=True)
    assert [event.epoch for event in heard if isinstance(event, TrainingStarted)] == [0]


def test_old_weights_are_kept_until_no_row_needs_them(folder: Path, elsewhere: None) -> None:
    (name,) = before = models(folder)
    interrupted(folder, lambda event: isinstance(event, CellFinished), fresh=True)
    assert verdicts(folder) == ["confirmed", "confirmed"]  # one measured on the old weights, one on the new ones
    between = models(folder)
    assert len(between) == 2
    assert between[name] != before[name]
    assert before[name] in between.values()
    run(folder, fresh=True, only=["attack=mt-20"])
    run(folder, fresh=True, only=["attack=pgd-10"])
    assert verdicts(folder) == ["confirmed", "confirmed"]
    assert models(folder).keys() == {name}


def test_fresh_run_without_a_checkpoint_to_replace_is_gone_on_with_by_any_run(tmp_path: Path) -> None:
    write_suite(tmp_path, defenses=["natural"], attacks=["pgd-10"], epochs=4)
    interrupted(tmp_path, in_the_third_epoch, fresh=True)
    heard: list[Event] = []
    assert run(tmp_path, heard.append).finished == 1
    assert [event.epoch for event in heard if isinstance(event, TrainingStarted)] == [2]
    assert len(models(tmp_path)) == 1


def test_measurements_of_replaced_weights_are_not_used_for_the_new_ones(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for place in (tmp_path / "alone", tmp_path / "replaced"):
        write_suite(place, defenses=["natural"], epochs=1)
    run(tmp_path / "replaced", only=["attack=pgd-10"])
    request.getfixturevalue("elsewhere")
    run(tmp_path / "replaced", only=["attack=pgd-10"], fresh=True)
    run(tmp_path / "replaced")
    run(tmp_path / "alone")
    assert rows(tmp_path / "replaced") == rows(tmp_path / "alone")


def failing(*_: object, **__: object) -> None:
    raise TrainingError("the loss is not finite")


def test_failed_fresh_run_leaves_the_row_and_its_weights_and_the_table_says_what_failed_and_when(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, recorded = models(folder), results(folder)
    path = folder / "leaderboards" / "tiny.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(benchbench.harness.cells, "train", failing)
        result = run(folder, fresh=True)
    assert (result.finished, result.failed) == (0, 2)
    assert results(folder) == recorded
    assert models(folder) == before
    assert verdicts(folder) == ["confirmed", "confirmed"]
    told = describe_failed_attempts(path, result.rows)
    assert len(told) == 2
    assert all("computing it again failed on 20" in line and "the loss is not finite" in line for line in told)
    run(folder)
    assert describe_failed_attempts(path, result.rows) == told
    run(folder, fresh=True)
    assert describe_failed_attempts(path, result.rows) == ()
    assert not (folder / "leaderboards" / "tiny" / "failed.json").exists()


def test_training_that_fails_on_the_way_leaves_no_successor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = models(folder)

    def fail(event: Event) -> None:
        if in_the_third_epoch(event):
            raise RuntimeError("CUDA out of memory")

    assert run(folder, fail, fresh=True).failed == 2
    assert models(folder) == before


def test_failure_of_another_process_of_a_fresh_run_is_a_failure(folder: Path) -> None:
    store = RunStore(folder / "runs")
    cell_id = rows(folder)[0].cell_id
    row, before = store.read_cell(cell_id), store.record_times(cell_id)
    assert row is not None
    assert store.recorded_since(cell_id, before) is None
    store.write_cell(failed_row(read_cell(row.configuration), "later", provenance=Provenance()))
    since = store.recorded_since(cell_id, before)
    assert since is not None
    assert (since.status, since.error) == ("failed", "later")
    assert store.read_cell(cell_id) == row
