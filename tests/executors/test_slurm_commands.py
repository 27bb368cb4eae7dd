"""What Slurm's answers mean, without a Slurm: refusals, states, time limits."""

from __future__ import annotations

import pytest

from benchbench.contract import UsageError
from benchbench.errors import BenchbenchError, ExecutorError
from benchbench.executors import slurm_commands
from benchbench.executors.slurm_commands import FullQueueError, job_end, longest_minutes, submission_error


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
