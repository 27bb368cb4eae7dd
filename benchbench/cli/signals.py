"""Signals that stop a run: SIGTERM, and under Slurm SIGUSR1, which also requeues the job.

A thread receives the signal even while the main thread computes. It requests a stop at the next safe point: after a step of
training, or at the next forward pass of an evaluation. SIGTERM is enforced: after `RAISE_SECONDS` the main thread is
interrupted at any point, and after `EXIT_SECONDS` the process exits. Both are as safe as SIGKILL, which only loses the work
since the last checkpoint.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from benchbench.stopping import Stopped, StopRequest

RAISE_SECONDS = 2.0
EXIT_SECONDS = 4.5  # the documented 5 s, minus half a second for a busy machine
REQUEUE = "SIGUSR1, to be requeued"
_terminated = threading.Event()
_interrupting = threading.Lock()  # so that the main thread is not interrupted after its handler is restored


@contextmanager
def stop_signals(
    stop: StopRequest, environment: Mapping[str, str] = os.environ, *, last: bool = False
) -> Iterator[None]:
    """Handle the signals within a block in the main thread; elsewhere do nothing.

    If the process ends after the block (`last`), the exit after SIGTERM is also enforced while results are printed. The block
    raises `Stopped` if SIGTERM came and no safe point followed in time.
    """
    if threading.current_thread() is not threading.main_thread() or os.name != "posix":
        yield
        return
    reasons = {signal.SIGTERM: "SIGTERM"}
    if environment.get("SLURM_JOB_ID"):
        reasons[signal.SIGUSR1] = REQUEUE
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    before = {number: signal.signal(number, _leave_to_the_thread) for number in reasons}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, _interrupt)
    earlier = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    over = threading.Event()
    threading.Thread(target=_receive, args=(receiver, reasons, stop, over, last), name="signals", daemon=True).start()
    try:
        yield
    finally:
        with _interrupting:
            over.set()
        signal.set_wakeup_fd(earlier)
        for number, handler in before.items():
            signal.signal(number, handler)
        sender.close()


def exit_when_terminated() -> None:
    """Exit with status 1 on SIGTERM until `stop_signals` takes over: no work has started yet."""
    if os.name == "posix":
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(1))


def leave_if_terminated(status: int) -> None:
    """Exit immediately if SIGTERM came."""
    if _terminated.is_set():
        leave(status)


def leave(status: int) -> NoReturn:
    """Exit immediately: a normal exit with torch loaded takes seconds on a busy machine."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def requeue(environment: Mapping[str, str] = os.environ) -> str:
    """Requeue this Slurm job; return a message with the outcome."""
    job = environment.get("SLURM_JOB_ID", "")
    if not job.replace("_", "").isalnum():
        return f"not requeued: {job!r} is no job id"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True, timeout=60)  # noqa: S603, S607
    except subprocess.CalledProcessError as error:
        return f"not requeued: {' '.join((error.stderr or '').split()) or error}"
    except (OSError, subprocess.SubprocessError) as error:
        return f"not requeued: {error}"
    return f"job {job} is requeued"


def _leave_to_the_thread(number: int, frame: FrameType | None) -> None:
    """Do nothing: signals without a handler are not written to the wake-up socket."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Stopped("SIGTERM")


def _receive(
    receiver: socket.socket, reasons: Mapping[signal.Signals, str], stop: StopRequest, over: threading.Event, last: bool
) -> None:
    with receiver:
        while received := receiver.recv(1):
            number = received[0]
            if number not in [*reasons]:
                continue
            stop.request(reasons[signal.Signals(number)])
            if number == signal.SIGTERM:
                _terminated.set()
                _enforce(over, last)


def _enforce(over: threading.Event, last: bool) -> None:
    """Interrupt the main thread, and then end the process, if the block goes on for too long."""
    end = time.monotonic() + EXIT_SECONDS
    if not over.wait(RAISE_SECONDS):
        with _interrupting:
            if not over.is_set():
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
    if last or not over.wait(end - time.monotonic()):
        time.sleep(max(end - time.monotonic(), 0.0))
        if not over.is_set():
            with suppress(OSError):
                os.write(
                    2, b"SIGTERM while the run could not be interrupted: finished cells and checkpoints are kept\n"
                )
        os._exit(1)
