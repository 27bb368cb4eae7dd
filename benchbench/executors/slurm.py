"""Job arrays on a Slurm cluster, submitted through submitit."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from benchbench.contract import NOT_SHARED, Host, OptionError, Work, WorkUnit
from benchbench.errors import UsageError, counted
from benchbench.executors.slurm_commands import (
    FULL_HINT,
    FullQueueError,
    check_cluster,
    longest_array,
    longest_minutes,
    room_in_queue,
    submission_error,
)
from benchbench.executors.slurm_queue import Queue, Submissions
from benchbench.executors.slurm_task import WARNING, UnitTask

LEAST_MINUTES = 10
LEAST_GB, UNKNOWN_GB = 2.0, 4.0
MEMORY_FACTOR = 1.5
LONGEST_WARNING_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The cluster's limits: minutes of a job (None for no limit) and jobs of an array."""

    minutes: int | None
    array: int


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """The time limit of a job, and its memory in MiB."""

    minutes: int
    memory_mb: int

    @property
    def warning_seconds(self) -> int:
        """When Slurm sends its signal before the limit: a quarter of the time, at most 2 min."""
        return min(LONGEST_WARNING_SECONDS, 15 * self.minutes)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Stated or predicted resources; see `benchbench.executors.slurm.SlurmExecutor`."""

    minutes: int | None
    time_factor: float
    memory_gb: float | None

    def of(self, units: Sequence[WorkUnit], limits: Limits, *, memory_factor: float = 1.0) -> Allocation:
        """The resources of each job of an array; a longer job is requeued, at its checkpoint.

        The `memory_factor` is above 1 for units that ran out of memory. A stated time beyond the partition's limit is a
        UsageError: Slurm itself would let the jobs wait forever.
        """
        if self.minutes and limits.minutes and self.minutes > limits.minutes:
            raise UsageError(
                f"{self.minutes} minutes are longer than the partition allows: {limits.minutes}",
                hint="state fewer minutes: jobs are requeued, and go on from their checkpoints",
            )
        gigabytes = self.memory_gb or self._predicted_gb(units)
        minutes = self.minutes or self._predicted_minutes(units, limits)
        return Allocation(minutes=minutes, memory_mb=math.ceil(1024 * gigabytes * memory_factor))

    def _predicted_minutes(self, units: Sequence[WorkUnit], limits: Limits) -> int:
        known = [unit.seconds for unit in units if unit.seconds is not None]
        predicted = math.ceil(self.time_factor * max(known) / 60) if known else 60
        return min(max(predicted, LEAST_MINUTES), limits.minutes or predicted + LEAST_MINUTES)

    def _predicted_gb(self, units: Sequence[WorkUnit]) -> float:
        known = [unit.memory_bytes for unit in units if unit.memory_bytes is not None]
        return max(LEAST_GB, MEMORY_FACTOR * max(known) / 2**30) if known else UNKNOWN_GB


def find_limits(partition: str) -> Limits:
    """Query Slurm."""
    return Limits(minutes=longest_minutes(partition), array=longest_array())


JOB_NAME = "benchbench-{}"


class SlurmExecutor:
    """One job for each unit, in arrays of units with the same defense.

    A requeued job resumes its checkpoint. It requeues itself shortly before its time limit; Slurm requeues it after a
    preemption or the loss of a node. Interrupting the run leaves the jobs in the queue; the same command finds them again.

    Args:
        partition: empty for the cluster's default.
        account: the account to charge; empty for the default, as for `qos` and `constraint`.
        qos: quality of service.
        constraint: features that nodes must have.
        threads: cores of each job, and torch's threads in it; rows state them.
        gpus: number for each job on CUDA.
        minutes: time limit of each job; None for the plan's prediction times `time_factor`, at least 10.
        time_factor: factor on predictions.
        memory_gb: memory of each job, in GiB; None for 1.5 times the plan's prediction, at least 2, or 4 without prediction.
        requeues: how often a job may run out of time.
        poll_seconds: between two looks at the queue.

    Raises:
        OptionError: a number is out of range.
    """

    def __init__(
        self,
        *,
        partition: str = "",
        account: str = "",
        qos: str = "",
        constraint: str = "",
        threads: int = 1,
        gpus: int = 1,
        minutes: int | None = None,
        time_factor: float = 3.0,
        memory_gb: float | None = None,
        requeues: int = 20,
        poll_seconds: float = 5.0,
    ) -> None:
        numbers = {"threads": threads, "gpus": gpus, "minutes": minutes, "time_factor": time_factor}
        for name, value in {**numbers, "memory_gb": memory_gb, "poll_seconds": poll_seconds}.items():
            if value is not None and value <= 0:
                raise OptionError(f"{name} must be above 0, got {value}")
        if requeues < 0:
            raise OptionError(f"requeues must not be negative, got {requeues}")
        self._where = {"partition": partition, "account": account, "qos": qos, "constraint": constraint}
        self._threads, self._gpus, self._requeues = threads, gpus, requeues
        self._resources = Resources(minutes=minutes, time_factor=time_factor, memory_gb=memory_gb)
        self._poll_seconds = poll_seconds

    def execute(self, work: Work, host: Host) -> None:
        """Carry out the work; see `benchbench.contract.Executor`."""
        partition = self._where["partition"]
        check_cluster(partition)
        limits = find_limits(partition)
        queue = Queue(JOB_NAME.format(work.name), work, host)
        attached = queue.attach()
        if attached:
            host.say(f"attached to {counted(attached, 'job')} in Slurm's queue already")
        try:
            self._submit(work, queue, host, limits)
            while queue.is_active():
                host.wait(self._poll_seconds)
                queue.look()
                self._submit(work, queue, host, limits)
        except UsageError:
            queue.cancel()
            raise
        except BaseException:
            queue.detach()
            raise

    def _submit(self, work: Work, queue: Queue, host: Host, limits: Limits) -> None:
        """Submit the units without a job, as many as the queue takes."""
        for units in _arrays(queue.waiting(), limits.array):
            room = room_in_queue()
            fitting = units if room is None else units[:room]
            try:
                if not fitting:
                    raise FullQueueError("the queue is full", hint=FULL_HINT)
                jobs = self._submit_array(work, fitting, limits, queue.memory_factor(fitting))
            except FullQueueError as error:
                if not queue.is_active():
                    raise
                queue.say_once(f"{error.message}: the other jobs are submitted when there is room")
                return
            queue.add(jobs)
            host.say(f"submitted {counted(len(fitting), 'job')} ({units[0].defense}) to Slurm")

    def _submit_array(self, work: Work, units: Sequence[WorkUnit], limits: Limits, memory_factor: float) -> Submissions:
        import submitit

        allocation = self._resources.of(units, limits, memory_factor=memory_factor)
        executor = submitit.SlurmExecutor(folder=work.folder / "slurm", max_num_timeout=self._requeues)
        token = f'[ "$(cat {shlex.quote(str(work.folder / "token"))} 2>/dev/null)" = {work.token} ]'
        executor.update_parameters(
            job_name=JOB_NAME.format(work.name),
            time=allocation.minutes,
            mem=f"{allocation.memory_mb}MB",
            cpus_per_task=self._threads,
            array_parallelism=work.workers or len(units),
            stderr_to_stdout=True,
            setup=[f"{token} || exit {NOT_SHARED}"],
            additional_parameters={
                "signal": f"{WARNING.name.removeprefix('SIG')}@{allocation.warning_seconds}",
                "requeue": True,
            },
            **{name: value for name, value in self._where.items() if value},
            **({"gpus_per_node": self._gpus} if work.device == "cuda" else {}),
        )
        commands = (work.command(unit.name, [unit.name], threads=self._threads, leashed=True) for unit in units)
        try:
            with executor.batch():
                jobs = [executor.submit(UnitTask(command=command)) for command in commands]
        except Exception as error:  # submitit's errors contain the message of sbatch
            message = f"{error} {getattr(error, 'stderr', '') or ''}"
            raise submission_error(message, partition=self._where["partition"]) from error
        return {job.job_id: unit.name for job, unit in zip(jobs, units)}


def _arrays(units: Iterable[WorkUnit], longest: int) -> list[list[WorkUnit]]:
    """Group the units by defense, in arrays of at most `longest`."""
    arrays = []
    for _, group in groupby(sorted(units, key=lambda unit: unit.defense), key=lambda unit: unit.defense):
        together = list(group)
        arrays += [together[begin : begin + longest] for begin in range(0, len(together), longest)]
    return arrays
