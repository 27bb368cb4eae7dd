"""What becomes of the units of jobs, by the states that Slurm tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchbench.contract import UsageError
from benchbench.executors import slurm_commands
from benchbench.executors.slurm_queue import Queue
from benchbench.testing import ToyHost, toy_work


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("NODE_FAIL", "its node on n1 failed"),
        ("PREEMPTED", "it was preempted"),
        ("TIMEOUT", "its time was up"),
        ("GONE", "Slurm knows it no longer"),
    ],
)
def test_unit_of_a_lost_job_waits_for_another_one_until_it_has_lost_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, said: str
) -> None:
    work = toy_work(tmp_path / "toy", ("first",))
    host = ToyHost(work.folder, ("first",))
    end = slurm_commands.JobState(state=state, node="n1", exit_code=None)
    monkeypatch.setattr("benchbench.executors.slurm_queue.job_states", lambda _: {})
    monkeypatch.setattr("benchbench.executors.slurm_queue.job_end", lambda _: end)
    queue = Queue("n", work, host)
    for attempt in range(6):
        assert [one.name for one in queue.waiting()] == ["first"]
        queue.add({str(attempt): "first"})
        assert queue.waiting() == []
        queue.look()
    assert queue.waiting() == []
    assert f"job 0 is lost: {said}; another one goes on" in host.said[0]
    assert "given up" in host.said[-1]


@pytest.mark.parametrize(
    ("reason", "looks", "said"),
    [
        (
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
            1,
            "see 'sinfo -R'",
        ),
        ("ReqNodeNotAvail, UnavailableNodes:n1", 1, "see 'sinfo -R'"),
        ("JobHeldAdmin", 1, "'scontrol release 7' lets them go on"),
        ("launch failed requeued held", 1, "'scontrol release 7' lets them go on"),
        ("Priority", 2, "until others make room"),
        ("Resources", 2, "until others make room"),
        ("None", 3, ""),
        ("BeginTime", 3, ""),
    ],
)
def test_user_hears_once_why_jobs_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str, looks: int, said: str
) -> None:
    work = toy_work(tmp_path / "toy", ("first",))
    host = ToyHost(work.folder, ("first",))
    pending = slurm_commands.JobState(state="PENDING", reason=reason)
    monkeypatch.setattr("benchbench.executors.slurm_queue.job_states", lambda _: {"7": pending})
    queue = Queue("n", work, host)
    queue.add({"7": "first"})
    for _ in range(looks - 1):
        queue.look()
        assert host.said == []
    for _ in range(3):
        queue.look()
    assert [said in message for message in host.said] == ([True] if said else [])


@pytest.mark.parametrize("reason", ["PartitionConfig", "PartitionTimeLimit", "BadConstraints", "InvalidQOS"])
def test_jobs_that_can_never_start_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    work = toy_work(tmp_path / "toy", ("first",))
    queue = Queue("n", work, ToyHost(work.folder, ("first",)))
    pending = slurm_commands.JobState(state="PENDING", reason=reason)
    monkeypatch.setattr("benchbench.executors.slurm_queue.job_states", lambda _: {"7": pending})
    queue.add({"7": "first"})
    with pytest.raises(UsageError, match=f"will never start job 7: {reason}"):
        queue.look()


def test_memory_is_doubled_for_a_unit_that_had_too_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = toy_work(tmp_path / "toy", ("first",))
    host = ToyHost(work.folder, ("first",))
    end = slurm_commands.JobState(state="OUT_OF_MEMORY", exit_code=1)
    monkeypatch.setattr("benchbench.executors.slurm_queue.job_states", lambda _: {})
    monkeypatch.setattr("benchbench.executors.slurm_queue.job_end", lambda _: end)
    queue = Queue("n", work, host)
    queue.add({"1": "first"})
    queue.look()
    assert queue.memory_factor(work.units) == 2.0
    assert host.deaths == [("first", "ended by Slurm (OUT_OF_MEMORY, exit status 1)")]
