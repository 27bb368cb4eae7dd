"""What jobs on Slurm ask for, and how many are submitted, without a Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchbench.contract import UsageError, Work, WorkUnit
from benchbench.errors import OptionError
from benchbench.executors import slurm_commands
from benchbench.executors.slurm import Limits, Resources, SlurmExecutor
from benchbench.testing import ToyHost, toy_work

LIMITS = Limits(minutes=240, array=100)


def unit(seconds: float | None, memory_gb: float | None = None) -> WorkUnit:
    need = None if memory_gb is None else int(memory_gb * 2**30)
    return WorkUnit(name="u", label="", defense="at", cells=1, seconds=seconds, memory_bytes=need)


def test_jobs_ask_for_what_the_plan_predicts() -> None:
    asked = Resources(minutes=None, time_factor=3.0, memory_gb=None).of([unit(600, 4.0), unit(1200, 6.0)], LIMITS)
    assert (asked.minutes, asked.memory_mb) == (60, 9 * 1024)


def test_jobs_ask_for_no_more_time_than_the_partition_has() -> None:
    asked = Resources(minutes=None, time_factor=3.0, memory_gb=None).of([unit(36_000)], LIMITS)
    assert (asked.minutes, asked.warning_seconds) == (240, 120)


def test_stated_resources_are_kept_unless_they_cannot_be_had() -> None:
    stated = Resources(minutes=5, time_factor=3.0, memory_gb=2.0)
    assert stated.of([unit(9999, 64.0)], LIMITS).minutes == 5
    assert stated.of([unit(9999, 64.0)], LIMITS, memory_factor=2.0).memory_mb == 4096
    with pytest.raises(UsageError, match="longer than the partition allows: 240"):
        Resources(minutes=241, time_factor=3.0, memory_gb=2.0).of([unit(None)], LIMITS)


@pytest.mark.parametrize(
    "options", [{"threads": 0}, {"minutes": 0}, {"memory_gb": 0.0}, {"requeues": -1}, {"time_factor": -1.0}]
)
def test_option_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        SlurmExecutor(**options)  # type: ignore[arg-type]


def test_full_queue_takes_what_it_has_room_for_and_the_rest_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("a", "b", "c")
    work, submitted = toy_work(tmp_path / "toy", names), []
    host = ToyHost(work.folder, names)
    room = iter([2, 0, 1])

    def submit(self: SlurmExecutor, work: Work, units: list[WorkUnit], *_: object) -> dict[str, str]:
        submitted.append([unit.name for unit in units])
        return {unit.name: unit.name for unit in units}

    def states(name: str) -> dict[str, slurm_commands.JobState]:
        for unit in submitted[-1] if room.__length_hint__() < 2 else []:
            (work.folder / "done" / unit).touch()
        return {}

    monkeypatch.setattr(SlurmExecutor, "_submit_array", submit)
    monkeypatch.setattr("benchbench.executors.slurm.check_cluster", lambda _: None)
    monkeypatch.setattr("benchbench.executors.slurm.find_limits", lambda _: LIMITS)
    monkeypatch.setattr("benchbench.executors.slurm.room_in_queue", lambda: next(room))
    running = slurm_commands.JobState(state="RUNNING")
    looks = iter([{"a": running, "b": running}])
    monkeypatch.setattr("benchbench.executors.slurm_queue.job_states", lambda name: next(looks, None) or states(name))
    SlurmExecutor(poll_seconds=0.01).execute(work, host)
    assert submitted == [["a", "b"], ["c"]]
    assert "the queue is full: the other jobs are submitted when there is room" in host.said
