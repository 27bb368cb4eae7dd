"""Calls Slurm's commands, and interprets their answers."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from benchbench.errors import BenchbenchError, ExecutorError, UsageError, suggest

ACTIVE = frozenset(
    {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "RESIZING", "STOPPED"}
    | {"SIGNALING", "STAGE_OUT", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
)
COMMAND_SECONDS = 60.0
FULL_HINT = "wait until some of yours have ended ('squeue --me'), or ask for fewer cells with --only"
_CONTROLLER_HINT = "is Slurm's controller up? see 'scontrol ping'"
_NOT_HERE = "no Slurm here: {} is not on the PATH"
_DURATION = re.compile(r"(?:(?P<days>\d+)-)?(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+)\Z")


class FullQueueError(UsageError):
    """The queue takes no more jobs for now."""


_TABLE = (files("benchbench.executors") / "slurm_refusals.toml").read_text(encoding="utf-8")
_REFUSALS: list[dict[str, str]] = tomllib.loads(_TABLE)["refusal"]
_ERRORS: dict[str, type[BenchbenchError]] = {
    kind.__name__: kind for kind in (UsageError, ExecutorError, FullQueueError)
}


@dataclass(frozen=True, kw_only=True)
class JobState:
    """A job as Slurm sees it."""

    state: str  # Slurm's word, for instance ``PENDING`` or ``NODE_FAIL``; ``GONE`` if Slurm no longer knows the job
    reason: str = ""  # why it waits, or why it ended; Slurm's word
    node: str = ""  # where it runs or ran; empty if it did not run
    exit_code: int | None = None  # of the batch script, or 256 plus the signal that ended it; None if unknown
    restarts: int = 0  # how often it was requeued

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ACTIVE


def check_cluster(partition: str) -> None:
    """Raise UsageError or ExecutorError unless Slurm answers here and the partition takes jobs."""
    for program in ("sbatch", "squeue", "scontrol", "srun"):
        if shutil.which(program) is None:
            hint = "run on a login node of the cluster, or use --jobs for workers on this machine"
            raise UsageError(_NOT_HERE.format(program), hint=hint)
    states = dict(line.split("|", 1) for line in call("sinfo", "-h", "-o", "%R|%a").splitlines() if "|" in line)
    if partition and partition not in states:
        raise UsageError(f"Slurm has no partition {partition!r}", hint=suggest(partition, states))
    if partition and states[partition] != "up":
        raise UsageError(
            f"the partition {partition!r} takes no jobs: it is {states[partition]}", hint="choose another one"
        )


def longest_minutes(partition: str) -> int | None:
    """The time limit of a partition, or of the default one; None for no limit."""
    lines = call("sinfo", "-h", "-o", "%P|%l", *(("-p", partition) if partition else ())).splitlines()
    limits = dict(line.split("|", 1) for line in lines if "|" in line)
    stated = next((limit for name, limit in limits.items() if partition or name.endswith("*")), "")
    found = _DURATION.match(stated)
    if found is None:
        return None
    days, hours, minutes = (int(found[part] or 0) for part in ("days", "hours", "minutes"))
    return max(1, 1440 * days + 60 * hours + minutes)


def longest_array() -> int:
    """The largest number of jobs in an array."""
    stated = _configured("MaxArraySize")
    return 1000 if stated is None else max(1, stated - 1)


def room_in_queue() -> int | None:
    """The number of jobs that the controller still takes, by what this user sees, or None."""
    stated = _configured("MaxJobCount")
    if stated is None:
        return None
    return max(0, stated - 1 - len(call("squeue", "-h", "-r", "-t", "all", "-o", "%i").splitlines()))


def _configured(name: str) -> int | None:
    found = re.search(rf"^{name}\s*=\s*(\d+)", call("scontrol", "show", "config"), re.MULTILINE)
    return int(found[1]) if found else None


def job_states(name: str) -> Mapping[str, JobState]:
    """The waiting, running and lately ended jobs of a name by id; array elements are separate."""
    lines = call("squeue", "-h", "-r", "-t", "all", "-n", name, "-o", "%i|%T|%r|%N").splitlines()
    fields = (line.split("|", 3) for line in lines if line.count("|") >= 3)
    return {job: JobState(state=state, reason=reason, node=node) for job, state, reason, node in fields}


def job_end(job_id: str) -> JobState:
    """The end of a job, from the controller, or from the accounts if it has forgotten the job."""
    try:
        answer = call("scontrol", "show", "job", "-o", job_id)
    except BenchbenchError:
        return _end_by_accounts(job_id)
    fields = dict(part.split("=", 1) for part in answer.split() if "=" in part)
    return JobState(
        state=fields.get("JobState", "GONE"),
        reason=fields.get("Reason", ""),
        node=fields.get("NodeList", "").replace("(null)", ""),
        exit_code=_exit_code(fields.get("ExitCode", "")),
        restarts=int(fields.get("Restarts", "0")),
    )


def call(*command: str) -> str:
    """Standard output of one of Slurm's commands; an ExecutorError if it fails."""
    try:
        finished = subprocess.run(  # noqa: S603
            command, check=True, capture_output=True, text=True, timeout=COMMAND_SECONDS
        )
    except FileNotFoundError as error:
        raise UsageError(_NOT_HERE.format(command[0])) from error
    except subprocess.TimeoutExpired as error:
        raise ExecutorError(f"{command[0]} does not answer", hint=_CONTROLLER_HINT) from error
    except subprocess.CalledProcessError as error:
        said = " ".join((error.stderr or "").split()) or str(error)
        raise ExecutorError(f"{command[0]}: {said}", hint=_CONTROLLER_HINT) from error
    return finished.stdout


def submission_error(said: str, *, partition: str) -> BenchbenchError:
    """The error for a refusal of sbatch.

    >>> type(submission_error("sbatch: error: invalid partition specified: gpu", partition="gpu")).__name__
    'UsageError'
    """
    text = " ".join(said.split())
    for refusal in _REFUSALS:
        if re.search(refusal["pattern"], text, re.IGNORECASE):
            message = refusal["message"].format(partition=partition)
            return _ERRORS[refusal["error"]](f"{message} ({_last(text)})", hint=refusal.get("hint", FULL_HINT))
    return ExecutorError(f"sbatch refuses: {_last(text)}")


def _last(text: str) -> str:
    """The last of several complaints."""
    return re.split(r"sbatch: error: ", text)[-1][-300:]


def _end_by_accounts(job_id: str) -> JobState:
    try:
        answer = call("sacct", "-n", "-X", "-P", "-j", job_id, "-o", "State,NodeList,ExitCode")
    except BenchbenchError:
        return JobState(state="GONE")
    for line in answer.splitlines():
        state, node, code = (*line.split("|"), "", "", "")[:3]
        if state:
            return JobState(state=state.split()[0], node=node, exit_code=_exit_code(code))
    return JobState(state="GONE")


def _exit_code(text: str) -> int | None:
    """Slurm writes ``status:signal``."""
    found = re.match(r"(\d+):(\d+)\Z", text)
    if found is None:
        return None
    return 256 + int(found[2]) if int(found[2]) else int(found[1])
