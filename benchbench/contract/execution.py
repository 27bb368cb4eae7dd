"""What an executor is to the host: it starts the processes that carry out the work of a run, wherever they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

DONE, REFUSED, NOT_SHARED, STOPPED = 0, 2, 66, 75  # exit statuses of a worker


@dataclass(frozen=True, kw_only=True)
class WorkUnit:
    """One model to train, and the cells that evaluate it; the least that a worker is given.

    Attributes:
        name: unique within the work, fit for a file name.
        label: for people, for instance ``digits mlp trades (beta=6), seed 0``.
        defense: name of the training method; units of one method take about the same time and memory.
        cells: how many cells it has, at least 1.
        seconds: predicted duration on the machine that planned; None where nothing is predicted.
        memory_bytes: predicted peak memory of the process, or of the device where that computes; None where unknown.
    """

    name: str
    label: str
    defense: str
    cells: int
    seconds: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an executor is to carry out.

    Attributes:
        name: the same whenever the same command is given, so that an executor recognises what it has submitted already.
        folder: for the executor's own files, too; on the file system that all workers share with this process.
        token: what the file ``token`` in the folder holds; a machine that reads something else does not share the folder.
        units: what is to be done, in the order of the plan.
        workers: how many processes at once; None leaves the number to the executor.
        device: where workers compute: ``"cpu"`` or ``"cuda"``.
        program: the program that a worker is, and its first arguments; see `command`.
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
        """Program and arguments of one worker, a process of its own that ends when its units are done.

        It exits with `DONE` when they are, with `STOPPED` when it was asked to by SIGTERM (after a checkpoint, within 5 s) or
        the budget of the run is used up, with `REFUSED` when it cannot go on, which `Host.wait` then says, and with
        `NOT_SHARED` when the folder that it sees is not the run's. Any other status, or a signal, is a death: tell the host.

        Args:
            worker: a name of its own, fit for a file name.
            units: names of the units that it carries out; none for all that are left, shared with the other workers.
            threads: of torch on the CPU; None for torch's own choice.
            leashed: whether it also stops when its standard input closes, as it does when the process that feeds it dies.
        """
        stated = () if threads is None else ("--threads", str(threads))
        return (*self.program, "--worker", worker, *stated, *(("--leashed",) if leashed else ()), *units)


class Host(Protocol):
    """The run that the work belongs to, as its executor sees it. All methods are for the thread that `execute` runs in."""

    def wait(self, seconds: float) -> None:
        """Wait, meanwhile showing what the workers do and keeping the leaderboard up to date.

        Whatever it raises is to be let through, `KeyboardInterrupt` among it, after the workers have been stopped or, where
        they outlive this process, been left alone: that is how a run ends early.
        """
        ...

    def left(self) -> frozenset[str]:
        """Names of the units that still have cells to compute."""
        ...

    def died(self, worker: str, reason: str) -> None:
        """A worker ended before its units were done. The cell at hand is tried again by the next worker to come, and recorded
        as failed when it has taken several workers with it.

        Args:
            worker: the name that `Work.command` was given.
            reason: what happened, for people, for instance ``"killed by SIGKILL"``.

        Raises:
            BenchbenchError: workers die before they begin anything, so that trying again is of no use.
        """
        ...

    def say(self, message: str) -> None:
        """Tell the user something, in one line."""
        ...


@runtime_checkable
class Executor(Protocol):
    """A way to have the units of a run carried out by other processes. Options go to the constructor.

    What workers compute lands in the shared folder of the run, where claims keep two of them from the same cell: an executor
    starts processes, notices when they end, and starts others for what is left. It decides nothing about results.
    """

    def execute(self, work: Work, host: Host) -> None:
        """Carry out the work; returns when no unit is left, or when nothing more can be done about those that are.

        Raises:
            UsageError: the engine is not there, or refuses the work; the hint says what helps.
        """
        ...
