"""A fresh run of several processes computes everything anew, once: what its own workers have done is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from run_processes import results, run, write_suite

from benchbench.contract import Host, Work
from benchbench.events import Event, Note, TrainingProgress, TrainingStarted
from benchbench.executors.carrying import carry_out
from benchbench.executors.crew import Commission, Crew
from benchbench.executors.job import read_job
from benchbench.executors.journal import Journal, Journals
from benchbench.executors.working import work
from benchbench.harness.scheduling import Tally
from benchbench.kernels.determinism import on_threads
from benchbench.planning.preparing import Request, prepare
from benchbench.records.measurements import StoredMeasurements
from benchbench.settings import find_folders
from benchbench.stopping import StopRequest


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with on_threads(1):
        yield


class Elsewhere:
    """An executor whose workers, this process for want of others, go on after the run was interrupted."""

    def __init__(self, carry_out: Callable[[Work, Host], None]) -> None:
        self._carry_out = carry_out

    def execute(self, work: Work, host: Host) -> None:
        """See `benchbench.contract.Executor`."""
        self._carry_out(work, host)


def run_elsewhere(folder: Path, heard: list[Event], carried_out: Callable[[Work, Host], None]) -> Tally:
    """A fresh run of the suite in a folder."""
    folders = find_folders(runs=folder / "runs", leaderboards=folder / "leaderboards")
    request = Request(suite=str(folder / "tiny.toml"), device="cpu", fresh=True)
    commission = Commission(
        prepared=prepare(request, folders),
        crew=Crew(name="far", executor=Elsewhere(carried_out), workers=1, elsewhere=True),
        listener=heard.append,
        stop=StopRequest(),
        estimates={},
    )
    return carry_out(commission)


def compute(asked: Work, units: list[str], stop: StopRequest | None = None) -> int:
    return work(read_job(asked.folder), worker="w", units=units, stop=stop or StopRequest())


def compute_all(asked: Work) -> None:
    assert compute(asked, []) == 0


def record_times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "runs" / "cells").glob("*.json")}


def test_fresh_run_that_was_interrupted_keeps_what_its_own_workers_recorded(tmp_path: Path) -> None:
    write_suite(tmp_path)
    run(tmp_path)
    expected, old = results(tmp_path), record_times(tmp_path)

    def do_one_unit(asked: Work, host: Host) -> None:
        assert len(host.left()) == 2
        compute(asked, [asked.units[0].name])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_elsewhere(tmp_path, [], do_one_unit)
    middle = record_times(tmp_path)
    mine = {name for name in old if middle[name] != old[name]}
    assert len(mine) == 2

    def do_the_rest(asked: Work, host: Host) -> None:
        assert host.left() == {asked.units[1].name}
        compute(asked, [])

    heard: list[Event] = []
    tally = run_elsewhere(tmp_path, heard, do_the_rest)
    assert (tally.finished, tally.left) == (4, ())
    assert "2 of its 4 cells are recorded" in next(event.message for event in heard if isinstance(event, Note))
    end = record_times(tmp_path)
    assert {name for name in old if end[name] != middle[name]} == set(old) - mine
    assert results(tmp_path) == expected
    assert not [*tmp_path.glob("runs/jobs/*")]


def test_fresh_run_after_one_that_ended_computes_everything_again(tmp_path: Path) -> None:
    write_suite(tmp_path, defenses=["natural"], attacks=["pgd-10"])
    for _ in range(2):
        before = record_times(tmp_path) if (tmp_path / "runs").exists() else {}
        heard: list[Event] = []
        assert run_elsewhere(tmp_path, heard, lambda asked, host: compute_all(asked)).finished == 1
        assert record_times(tmp_path) != before
        assert not any("going on" in event.message for event in heard if isinstance(event, Note))


def test_worker_of_a_fresh_run_goes_on_from_the_checkpoint_of_the_one_before_it(tmp_path: Path) -> None:
    write_suite(tmp_path, defenses=["natural"], attacks=["pgd-10"], epochs=6)
    run(tmp_path)  # leaves a checkpoint of six epochs that counts for nothing
    expected = results(tmp_path)
    begun: list[int] = []

    def be_stopped_and_replaced(asked: Work, host: Host) -> None:
        stop = StopRequest()
        tell = Journal.write
        with pytest.MonkeyPatch.context() as patch:

            def stop_in_the_third_epoch(journal: Journal, entry: Event) -> None:
                tell(journal, entry)
                if isinstance(entry, TrainingProgress) and entry.epoch == 2:
                    stop.request("enough")

            patch.setattr(Journal, "write", stop_in_the_third_epoch)
            assert compute(asked, [], stop) == 1
        assert compute(asked, []) == 0
        entries = [entry for _, entry in Journals(asked.folder / "journals").news()]
        begun.extend(entry.epoch for entry in entries if isinstance(entry, TrainingStarted))

    assert run_elsewhere(tmp_path, [], be_stopped_and_replaced).finished == 1
    assert begun[0] == 0
    assert begun[1] > 0
    assert results(tmp_path) == expected


def test_evaluation_of_a_fresh_run_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    write_suite(tmp_path, defenses=["natural"], attacks=["pgd-10"])
    run(tmp_path)
    expected = results(tmp_path)
    kept: list[str] = []
    put = StoredMeasurements.put

    def be_stopped_and_replaced(asked: Work, host: Host) -> None:
        stop = StopRequest()

        def keep(measurements: StoredMeasurements, key: str, tensors: Mapping[str, torch.Tensor]) -> None:
            put(measurements, key, tensors)
            kept.append(key)
            if len(kept) == 2:
                stop.request("enough")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(StoredMeasurements, "put", keep)
            assert compute(asked, [], stop) == 1
            assert len(kept) == 2
            assert compute(asked, []) == 0

    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/measurements/*/*")}
    assert run_elsewhere(tmp_path, [], be_stopped_and_replaced).finished == 1
    assert results(tmp_path) == expected
    assert len(kept) == len({*kept})  # nothing was measured twice
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/measurements/*/*")} == before
