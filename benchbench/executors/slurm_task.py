"""What runs in a job of Slurm's: one worker process, and the signals that Slurm sends before it takes the node away."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from types import FrameType

from benchbench.contract import DONE

WARNING = signal.SIGUSR1  # what Slurm is asked to send before the time is up


@dataclass(frozen=True, kw_only=True)
class UnitTask:
    """Carries out one unit; submitit calls it on the node, and requeues the job after the warning.

    Attributes:
        command: of the worker.
    """

    command: tuple[str, ...]

    def __call__(self) -> int:
        """Run the worker to its end; the job's exit status is the worker's, and 128 plus the number of a signal that ended it.

        The warning and SIGTERM are passed on, so that the worker writes a checkpoint and stops. After the warning the job is
        requeued, by what submitit does on its own signal.
        """
        heard: list[int] = []
        requeue = signal.getsignal(signal.SIGUSR2)
        worker = subprocess.Popen(self.command, stdin=subprocess.PIPE)  # noqa: S603

        def pass_on(number: int, frame: FrameType | None) -> None:
            heard.append(number)
            worker.terminate()

        for number in (WARNING, signal.SIGTERM):
            signal.signal(number, pass_on)
        status = worker.wait()
        if status != DONE and WARNING in heard and signal.SIGTERM not in heard and callable(requeue):
            requeue(signal.SIGUSR2, None)
        if status != DONE:
            sys.exit(status if status > 0 else 128 - status)
        return status

    def checkpoint(self) -> object:
        """What submitit is to run after requeuing: the same; the worker goes on from its own checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
