"""The content of a Slurm job: one worker process, which gets the signals that Slurm sends."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from types import FrameType

from benchbench.contract import DONE

WARNING = signal.SIGUSR1  # Slurm sends it before the time limit


@dataclass(frozen=True, kw_only=True)
class UnitTask:
    """Carries out one unit by the command of a worker; submitit calls it on the node."""

    command: tuple[str, ...]

    def __call__(self) -> int:
        """Run the worker, and exit with its status, or 128 plus the signal that ended it.

        It passes the warning and SIGTERM on, so that the worker writes a checkpoint and stops. After the warning it calls
        submitit's handler of SIGUSR2, which requeues the job.
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
        """The task that submitit runs after requeuing; the worker resumes its checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
