"""Executors: they start the processes that carry out the work of a run, wherever those run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

DONE, REFUSED, NOT_SHARED, STOPPED = 0, 2, 66, 75  # exit statuses of a worker


@dataclass(frozen=True, kw_only=True)
class WorkUnit:
    """One model to train and the cells that evaluate it: the smallest unit of a worker's work.

    Attributes:
        name: unique within the work, fit for a file name.
        label: for people, for instance ``digits mlp trades (beta=6), seed 0``.
        defense: name of the training method; units of one method take about the same time and memory.
        cells: number of cells, at least 1.
        seconds: predicted duration on the machine that planned; None if unknown.
        memory_bytes: predicted peak memory of the process, or of the CUDA device if that computes; None if unknown.
    """

    name: str
    label: str
    defense: str
    cells: int
    seconds: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of a run, for an executor.

    Attributes:
        name: equal for equal commands, so that an executor recognises work that it has already submitted.
        folder: on a file system that all workers share with this process; executors may write their own files there.
        token: content of the file ``token`` in the folder; a machine that reads another content does not share the folder.
        units: in the order of the plan.
        workers: number of simultaneous processes; None leaves it to the executor.
        device: where workers compute: ``"cpu"`` or ``"cuda"``.
        program: program and first arguments of a worker; see `command`.
    """

    name: str
    folder: Path
    token: str
    units: tuple[WorkUnit, ...]
    workers: int | None
    device: str
    program: tuple[str, ...]

    def command(
        self, worker: str, units: Sequence[str] = (), *, threads: int | None = None, leashed: bool = False
    ) -> tuple[str, ...]:
        """Program and arguments of one worker process, which ends when its units are done.

        Its exit status is `DONE` when they are; `STOPPED` after SIGTERM (it writes a checkpoint first, within 5 s) or when the
        budget of the run is used up; `REFUSED` when it cannot continue, which `Host.wait` then reports; `NOT_SHARED` when its
        folder is not the run's. Any other status, or a signal, is a death: call `Host.died`.

        Args:
            worker: a unique name, fit for a file name.
            units: names of its units; empty for all remaining units, shared with the other workers.
            threads: torch's threads on the CPU; None for torch's default.
            leashed: whether it also stops when its standard input closes, as happens when its parent process dies.
        """
        stated = () if threads is None else ("--threads", str(threads))
        return (*self.program, "--worker", worker, *stated, *(("--leashed",) if leashed else ()), *units)


class Host(Protocol):
    """The run, as its executor sees it. Call all methods from the thread that runs `execute`."""

    def wait(self, seconds: float) -> None:
        """Wait, and meanwhile show the progress of the workers and update the leaderboard.

        It raises an exception, `KeyboardInterrupt` for instance, to end the run early: stop the workers, unless they outlive
        this process by design, and let the exception through.
        """
        ...

    def left(self) -> frozenset[str]:
        """Names of the units with cells that are not computed yet."""
        ...

    def died(self, worker: str, reason: str) -> None:
        """Report a worker that ended before its units were done.

        The next worker retries its cell, which is recorded as failed after it crashed several workers.

        Args:
            worker: the name passed to `Work.command`.
            reason: what happened, for people, for instance ``"killed by SIGKILL"``.

        Raises:
            BenchbenchError: workers die before they begin a unit, so that a retry is useless.
        """
        ...

    def say(self, message: str) -> None:
        """Show a message of one line to the user."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Runs the units of a run in other processes. Options go to the constructor.

    An executor starts processes, notices their end, and starts others for the remaining units. Workers write their results to
    the shared folder of the run, where claims keep two of them from computing the same cell.
    """

    def execute(self, work: Work, host: Host) -> None:
        """Carry out the work; return when no unit is left, or none that can be carried out.

        Raises:
            UsageError: the engine is missing or refuses the work; the hint says what helps.
        """
        ...
