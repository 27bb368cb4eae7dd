"""Worker processes on this machine."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchbench.atomic import storage_errors
from benchbench.contract import DONE, REFUSED, STOPPED, Host, OptionError, Work
from benchbench.executors.slots import GIB, Slot, available_cores, cpu_slots, gpu_slots, visible_gpus
from benchbench.stopping import Stopped

POLL_SECONDS = 0.2
SPARE = 1.5  # factor on predictions
STOP_SECONDS = 4.0  # from SIGTERM to SIGKILL; the run itself has to end within 5 s


class LocalExecutor:
    """Workers that share the units through claims in the runs folder; dead ones are replaced.

    Args:
        threads: torch's threads in each worker; None divides the cores among them. Rows state it, and are bit-identical to
            those of one process with as many threads.
        gpu_memory_gb: GPU memory of one worker, in GiB; a GPU gets as many workers as have room. None for 1.5 times the
            largest need that the plan predicts, or one worker on each GPU if it predicts none.

    Raises:
        OptionError: a number that is not above 0.
    """

    def __init__(self, *, threads: int | None = None, gpu_memory_gb: float | None = None) -> None:
        for name, value in {"threads": threads, "gpu_memory_gb": gpu_memory_gb}.items():
            if value is not None and value <= 0:
                raise OptionError(f"{name} must be above 0, got {value}")
        self._threads = threads
        self._gpu_memory_gb = gpu_memory_gb

    def execute(self, work: Work, host: Host) -> None:
        """Carry out the work; see `benchbench.contract.Executor`."""
        slots = self.slots(work)
        gpus = len({slot.gpu for slot in slots if slot.gpu is not None})
        where = "" if not gpus else " on one GPU" if gpus == 1 else f" on {gpus} GPUs"
        threads = slots[0].threads
        host.say(f"{len(slots)} worker processes{where}, {threads} {'thread' if threads == 1 else 'threads'} each")
        with _stopping_all([_Worker(number, work, slot) for number, slot in enumerate(slots, start=1)]) as workers:
            busy = list(workers)
            while busy := [worker for worker in busy if self._is_busy(worker, host)]:
                host.wait(POLL_SECONDS)

    def slots(self, work: Work) -> tuple[Slot, ...]:
        """The cores and the GPU of each worker, at most one worker per cell; UsageError if too few."""
        most = sum(unit.cells for unit in work.units)
        workers = None if work.workers is None else min(work.workers, most)
        if work.device == "cuda":
            slots = gpu_slots(
                workers,
                gpus=visible_gpus(),
                need_bytes=self._need_bytes(work),
                threads=self._threads,
                cores=available_cores(),
            )
            return slots[:most]
        return cpu_slots(workers or 1, threads=self._threads, cores=available_cores())

    def _need_bytes(self, work: Work) -> int | None:
        if self._gpu_memory_gb is not None:
            return int(self._gpu_memory_gb * GIB)
        known = [unit.memory_bytes for unit in work.units if unit.memory_bytes is not None]
        return int(SPARE * max(known)) if len(known) == len(work.units) else None

    def _is_busy(self, worker: _Worker, host: Host) -> bool:
        status = worker.status()
        if status is None:
            return True
        if status == REFUSED:
            host.wait(0.0)  # raises the error that the worker reported
        if status in (DONE, STOPPED):
            return False
        host.died(worker.name, _describe(status))
        if not host.left():
            return False
        worker.restart()
        return True


class _Worker:
    """One worker process, and its successors; its standard input closes when this process ends."""

    def __init__(self, number: int, work: Work, slot: Slot) -> None:
        self.name, self._work, self._slot = str(number), work, slot
        self._process = self._start()

    def restart(self) -> None:
        """Start a successor of an ended process."""
        self._let_go()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        folder = Path(self._work.folder, "logs")
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            log_file = (folder / f"{self.name}.log").open("ab")
        with log_file as log:
            return subprocess.Popen(  # noqa: S603
                self._work.command(self.name, threads=self._slot.threads, leashed=True),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._slot.environment(),
                start_new_session=True,  # Ctrl-C reaches the run alone, which stops its workers
            )

    def status(self) -> int | None:
        return self._process.poll()

    def ask_to_stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()

    def insist(self, seconds: float) -> None:
        try:
            self._process.wait(max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._let_go()

    def _let_go(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()


@contextmanager
def _stopping_all(workers: Sequence[_Worker]) -> Iterator[Sequence[_Worker]]:
    try:
        yield workers
    finally:
        for worker in workers:
            worker.ask_to_stop()
        left, end = list(workers), time.monotonic() + STOP_SECONDS
        while left:
            try:
                left[0].insist(end - time.monotonic())
                left.pop(0)
            except Stopped:  # SIGTERM interrupts the wait after a grace period; all workers must end nevertheless
                continue


def _describe(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
