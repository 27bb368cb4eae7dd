"""The jobs of a run in Slurm's queue: their units, their ends, and what follows from them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

from benchbench.atomic import write_bytes_atomically
from benchbench.contract import DONE, NOT_SHARED, REFUSED, STOPPED, Host, UsageError, Work, WorkUnit
from benchbench.errors import BenchbenchError
from benchbench.executors.slurm_commands import JobState, call, job_end, job_states

Submissions = Mapping[str, str]  # unit by job id
COULD_NOT_OPEN_OUTPUT = 256 + 53  # Slurm could not make the log file of the job
VISIBLE_SECONDS = 60.0  # the delay with which a shared file system may show files of another machine
LOSSES = 5  # a unit is given up after the cluster lost more of its jobs than this
HELD = ("launch failed requeued held", "JobHeldAdmin", "JobHeldUser")
NODES_AWAY = ("Unavailable", "ReqNodeNotAvail", "DOWN, DRAINED")
ROOM_AWAITED = ("Resources", "Priority")
HOPELESS = (
    *("PartitionConfig", "PartitionTimeLimit", "PartitionNodeLimit"),
    *("BadConstraints", "InvalidAccount", "InvalidQOS"),
)


class Queue:
    """The jobs of one piece of work, which share a name."""

    def __init__(self, name: str, work: Work, host: Host) -> None:
        self._name, self._work, self._host = name, work, host
        self._file = work.folder / "slurm.json"
        self._jobs: dict[str, str] = {}
        self._states: Mapping[str, JobState] = {}
        self._given_up: set[str] = set()
        self._losses: Counter[str] = Counter()
        self._out_of_memory: Counter[str] = Counter()
        self._done_since: dict[str, float] = {}
        self._said: set[str] = set()
        self._ran: dict[str, str] = {}  # node by running job

    def attach(self) -> int:
        """Find the active jobs that an earlier process submitted, and return their number."""
        try:
            known = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return 0
        self._states = job_states(self._name)
        units = {unit.name for unit in self._work.units}
        self._jobs = {
            job: unit
            for job, unit in known.items()
            if unit in units and self._states.get(job, JobState(state="GONE")).is_active
        }
        return len(self._jobs)

    def add(self, jobs: Submissions) -> None:
        """Add new jobs, and write them to the folder, so that a later process finds them."""
        self._jobs.update(jobs)
        self._write()

    def look(self) -> None:
        """Query the states of the jobs; act on those that have ended, or raise why none can go on."""
        before, self._states = self._states, job_states(self._name)
        left = self._host.left()
        for job, unit in [*self._jobs.items()]:
            state = self._states.get(job)
            if state is not None and state.is_active:
                if state.state == "RUNNING":
                    self._ran[job] = state.node
                self._explain_waiting(job, state, before.get(job))
            elif unit not in left or self._is_over(job, unit, job_end(job)):
                del self._jobs[job]
                self._write()

    def waiting(self) -> list[WorkUnit]:
        """Units with remaining cells that have no job and are not given up."""
        left, busy = self._host.left(), {*self._jobs.values()} | self._given_up
        return [unit for unit in self._work.units if unit.name in left and unit.name not in busy]

    def is_active(self) -> bool:
        """Whether any job has not ended."""
        return bool(self._jobs)

    def memory_factor(self, units: Sequence[WorkUnit]) -> float:
        """The factor on memory: it doubles each time that one of the units ran out of memory."""
        return float(2 ** max(self._out_of_memory[unit.name] for unit in units))

    def detach(self) -> None:
        """Say which jobs continue without this process."""
        if self._jobs:
            self._host.say(
                f"detached: {len(self._jobs)} jobs stay in Slurm's queue; the same command finds them again, 'benchbench "
                f"status' shows how far they are, and 'scancel --name={self._name}' ends them"
            )

    def cancel(self) -> None:
        """Cancel the remaining jobs."""
        if self._jobs:
            with suppress(BenchbenchError):
                call("scancel", f"--name={self._name}")

    def say_once(self, message: str) -> None:
        """Show a message that would otherwise be repeated at each look."""
        if message not in self._said:
            self._said.add(message)
            self._host.say(message)

    def _is_over(self, job: str, unit: str, end: JobState) -> bool:
        """Whether an ended job needs no more attention; its unit may need another job."""
        where = f" on {end.node}" if end.node else ""
        if end.exit_code in (NOT_SHARED, COULD_NOT_OPEN_OUTPUT):
            raise UsageError(
                f"the folder {self._work.folder} is not shared: job {job}{where} does not see what this process wrote there",
                hint="choose a runs folder with --runs that all nodes see",
            )
        if end.exit_code == REFUSED:
            self._host.wait(0.0)  # raises the error that the worker reported
        if end.exit_code == STOPPED:
            self._given_up.add(unit)
        elif end.state == "COMPLETED" and end.exit_code == DONE:
            return self._has_been_waited_for(job, unit, where)
        elif end.state in ("NODE_FAIL", "PREEMPTED", "TIMEOUT", "BOOT_FAIL", "CANCELLED", "GONE"):
            self._lose(job, unit, end, where)
        else:
            self._out_of_memory[unit] += end.state == "OUT_OF_MEMORY"
            self._host.died(unit, f"ended by Slurm{where} ({_describe(end)})")
        return True

    def _lose(self, job: str, unit: str, end: JobState, where: str) -> None:
        """Note that the cluster lost a job; another job resumes the checkpoint of its unit."""
        self._losses[unit] += 1
        reasons = {
            "NODE_FAIL": f"its node{where} failed",
            "PREEMPTED": "it was preempted",
            "TIMEOUT": "its time was up",
            "BOOT_FAIL": f"its node{where} did not start",
            "CANCELLED": "it was cancelled",
            "GONE": "Slurm knows it no longer",
        }
        cancelled_again = end.state == "CANCELLED" and self._losses[unit] > 1
        if cancelled_again or self._losses[unit] > LOSSES:
            self._given_up.add(unit)
            self._host.say(f"job {job} is lost: {reasons[end.state]}; given up until the same command is run again")
        else:
            self._host.say(f"job {job} is lost: {reasons[end.state]}; another one goes on from its checkpoint")

    def _has_been_waited_for(self, job: str, unit: str, where: str) -> bool:
        """Whether the records of a finished worker had time to become visible on this machine."""
        since = self._done_since.setdefault(job, time.monotonic())
        if time.monotonic() - since < VISIBLE_SECONDS:
            return False
        self._host.died(unit, f"done{where}, but what it recorded does not show in {self._work.folder}")
        return True

    def _explain_waiting(self, job: str, state: JobState, before: JobState | None) -> None:
        if state.state not in ("PENDING", "REQUEUED", "REQUEUE_HOLD"):
            return
        if job in self._ran:
            self._host.say(
                f"job {job} is back in the queue: its time was up, it was preempted, or its node {self._ran.pop(job)} failed; "
                "it will go on from its checkpoint, Slurm says in two minutes at the earliest"
            )
        if state.reason in HOPELESS:
            raise UsageError(
                f"Slurm will never start job {job}: {state.reason}",
                hint="ask for less time, memory or threads, or another partition: 'scontrol show partition' says what it has",
            )
        if any(word in state.reason for word in HELD):
            self.say_once(f"jobs are held ({state.reason}): 'scontrol release {job}' lets them go on")
        elif any(word in state.reason for word in NODES_AWAY):
            self.say_once(f"jobs wait because nodes are down or drained ({state.reason}): see 'sinfo -R'")
        elif state.reason in ROOM_AWAITED and before is not None and before.reason == state.reason:
            self.say_once(f"jobs wait until others make room ({state.reason}): 'squeue --me --start' says when")

    def _write(self) -> None:
        write_bytes_atomically(self._file, json.dumps(self._jobs, indent=1).encode())


def _describe(end: JobState) -> str:
    if end.exit_code is None:
        return end.state
    if end.exit_code > 256:
        return f"{end.state}, signal {end.exit_code - 256}"
    return f"{end.state}, exit status {end.exit_code}"
