"""What Slurm's answers mean, without a Slurm: refusals, states, time limits; and what jobs ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchbench.contract import UsageError, Work, WorkUnit
from benchbench.errors import BenchbenchError, ExecutorError, OptionError
from benchbench.executors import slurm_commands
from benchbench.executors.slurm import Limits, Resources, SlurmExecutor
from benchbench.executors.slurm_commands import FullQueueError, job_end, longest_minutes, submission_error
from benchbench.executors.slurm_queue import Queue
from benchbench.testing import ToyHost, toy_work

LIMITS = Limits(minutes=240, array=100)


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        ("sbatch: error: invalid partition specified: gpu", UsageError, "no partition 'p'"),
        (
            "sbatch: error: Batch job submission failed: Resource temporarily unavailable",
            FullQueueError,
            "no more jobs",
        ),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", FullQueueError, "no more jobs"),
        (
            "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
            FullQueueError,
            "no more",
        ),
        ("Invalid account or account/partition combination specified", UsageError, "the account"),
        ("Requested time limit is invalid (missing or exceeds some limit)", UsageError, "longer than"),
        ("Requested node configuration is not available", UsageError, "no node of the partition"),
        (
            "sbatch: error: Batch job submission failed: Invalid feature specification",
            UsageError,
            "no node has the features",
        ),
        ("sbatch: error: Invalid generic resource (gres) specification", UsageError, "has such GPUs"),
        ("Unable to contact slurm controller (connect failure)", ExecutorError, "does not answer"),
        ("sbatch: error: something new", ExecutorError, "sbatch refuses: something new"),
    ],
)
def test_refusals_are_told_apart(said: str, kind: type[BenchbenchError], message: str) -> None:
    error = submission_error(said, partition="p")
    assert type(error) is kind
    assert message in error.message


@pytest.mark.parametrize(
    ("limit", "minutes"), [("1-12:00:00", 2160), ("4:00:00", 240), ("30:00", 30), ("infinite", None), ("", None)]
)
def test_time_limit_of_a_partition_is_read(monkeypatch: pytest.MonkeyPatch, limit: str, minutes: int | None) -> None:
    monkeypatch.setattr(slurm_commands, "call", lambda *_: f"other|1:00\nmain*|{limit}\n")
    assert longest_minutes("") == minutes


def test_end_of_a_job_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = "JobId=7 JobState=FAILED Reason=RaisedSignal:53(Real-time_signal_19) Restarts=2 ExitCode=0:53 NodeList=n1"
    monkeypatch.setattr(slurm_commands, "call", lambda *_: answer)
    end = job_end("7")
    assert (end.state, end.node, end.exit_code, end.restarts, end.is_active) == ("FAILED", "n1", 256 + 53, 2, False)


def test_forgotten_job_is_looked_up_in_the_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*command: str) -> str:
        if command[0] == "scontrol":
            raise ExecutorError("Invalid job id specified")
        return "CANCELLED by 0|n2|0:15\n"

    monkeypatch.setattr(slurm_commands, "call", answer)
    end = job_end("7")
    assert (end.state, end.node, end.exit_code) == ("CANCELLED", "n2", 256 + 15)


def test_job_that_nobody_remembers_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: str) -> str:
        raise ExecutorError("no")

    monkeypatch.setattr(slurm_commands, "call", fail)
    assert job_end("7").state == "GONE"


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
