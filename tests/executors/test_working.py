"""The worker's side: the job that is meant, the cells that are left, and what a machine lacks."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest
from run_processes import SUITE, run, write_suite

from benchbench.errors import DataError
from benchbench.executors.job import Job, read_job, suite_copy, write_job
from benchbench.executors.journal import Journals, WorkerTrouble
from benchbench.executors.working import NotSharedError, open_job, stop_request, work
from benchbench.harness.cells import checkpoint_times
from benchbench.planning.preparing import Request, prepare
from benchbench.settings import Folders
from benchbench.stopping import StopRequest


def make_job(folder: Path, **changes: object) -> Job:
    """The job of the suite in a folder, written."""
    write_suite(folder)
    runs = folder / "runs"
    folders = Folders(data=folder, home=folder, runs=runs, leaderboards=folder / "leaderboards")
    prepared = prepare(Request(suite=str(folder / "tiny.toml"), device="cpu"), folders)
    cells = prepared.plan.ready
    job = Job(
        folder=folder / "job",
        token="t",
        request=Request(suite=str(suite_copy(folder / "job")), profile=prepared.profile, device="cpu"),
        folders=folders,
        units={cell.cell_id: (cell.cell_id,) for cell in cells},
        estimates={},
        before={cell.cell_id: prepared.store.record_times(cell.cell_id) for cell in cells},
        checkpoints=checkpoint_times(cells, prepared.store),
        begun=0.0,
    )
    job = dataclasses.replace(job, **changes)  # type: ignore[arg-type]
    write_job(job, (folder / "tiny.toml").read_bytes())
    return job


def test_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    job = make_job(tmp_path, deadline=5.0, estimates={"a": 1.5})
    assert read_job(tmp_path / "job") == job


def test_job_of_another_run_is_refused(tmp_path: Path) -> None:
    make_job(tmp_path)
    assert open_job(tmp_path / "job", "t").token == "t"
    with pytest.raises(NotSharedError, match="is not the folder that the run wrote to"):
        open_job(tmp_path / "job", "u")
    with pytest.raises(NotSharedError, match=r"job\.json cannot be read"):
        open_job(tmp_path / "nowhere", "t")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"token": "t", "request": 3}'])
def test_damaged_job_file_is_told(tmp_path: Path, text: str) -> None:
    make_job(tmp_path)
    (tmp_path / "job" / "job.json").write_text(text)
    with pytest.raises(DataError, match="is damaged"):
        open_job(tmp_path / "job", "t")


def test_worker_computes_the_units_it_is_given_and_the_leaderboard_shows_them(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    names = [*job.units]
    assert work(job, worker="a", units=names[:1], stop=StopRequest()) == 0
    assert len(run(tmp_path, only=["seed=0"]).rows) == 4
    assert [*(tmp_path / "job" / "journals").iterdir()] == [tmp_path / "job" / "journals" / "a.jsonl"]


def test_cell_that_was_recorded_since_the_job_was_written_is_not_computed_again(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job = dataclasses.replace(job, request=dataclasses.replace(job.request, fresh=True))
    run(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "cells").iterdir()}
    assert work(job, worker="a", units=[], stop=StopRequest()) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "cells").iterdir()} == before


def test_machine_that_cannot_plan_what_the_run_planned_says_so(tmp_path: Path) -> None:
    job = make_job(tmp_path, units={"u": ("0123456789abcdef",)})
    with pytest.raises(DataError, match="1 cells of the run cannot be planned on"):
        work(job, worker="a", units=[], stop=StopRequest())
    entries = [entry for _, entry in Journals(job.journals).news()]
    assert any(isinstance(entry, WorkerTrouble) and "cannot be planned" in entry.message for entry in entries)


def test_budget_of_the_run_is_the_workers(tmp_path: Path) -> None:
    job = make_job(tmp_path, deadline=time.time() + 1000.0)
    assert 997.0 < stop_request(job).seconds_left <= 1000.0  # the run itself has kept what it needs at the end
    assert not stop_request(dataclasses.replace(job, deadline=None)).limited
    assert stop_request(dataclasses.replace(job, deadline=1.0)).is_due()


def test_suite_is_the_one_that_the_run_read(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    (tmp_path / "tiny.toml").write_text(SUITE[:10])
    assert work(job, worker="a", units=[*job.units][:1], stop=StopRequest()) == 0
