"""Signals that ask a run to stop: SIGTERM, as Slurm sends it before its limit, and under Slurm SIGUSR1, which requeues.

A thread hears the signal even while the main thread computes. It asks the run to stop at its next safe moment: after a step of
training, or when the model is next asked in an evaluation. After SIGTERM it insists twice: `RAISE_SECONDS` later the main
thread is interrupted wherever it is, and `EXIT_SECONDS` later the process exits. Both are as safe as SIGKILL, which loses
nothing but the work since the last checkpoint.
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
EXIT_SECONDS = 4.5  # a promise of five, and half a second for a busy machine
REQUEUE = "SIGUSR1, to be requeued"
_terminated = threading.Event()
_insisting = threading.Lock()  # so that the main thread is not interrupted after its handler has gone


@contextmanager
def stop_signals(
    stop: StopRequest, environment: Mapping[str, str] = os.environ, *, last: bool = False
) -> Iterator[None]:
    """Handle the signals for a while; outside of the main thread, where Python allows no handlers, do nothing.

    Args:
        stop: is asked to stop.
        environment: says whether this is a job of Slurm's.
        last: whether the process ends after the block; then it does so in time after SIGTERM, whatever is still printed.

    Raises:
        Stopped: SIGTERM came and no safe moment did.
    """
    if threading.current_thread() is not threading.main_thread() or os.name != "posix":
        yield
        return
    reasons = {signal.SIGTERM: "SIGTERM"}
    if environment.get("SLURM_JOB_ID"):
        reasons[signal.SIGUSR1] = REQUEUE
    heard, told = socket.socketpair()
    told.setblocking(False)
    before = {number: signal.signal(number, _leave_to_the_thread) for number in reasons}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, _interrupt)
    earlier = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    over = threading.Event()
    threading.Thread(target=_hear, args=(heard, reasons, stop, over, last), name="signals", daemon=True).start()
    try:
        yield
    finally:
        with _insisting:
            over.set()
        signal.set_wakeup_fd(earlier)
        for number, handler in before.items():
            signal.signal(number, handler)
        told.close()


def exit_when_terminated() -> None:
    """Until `stop_signals` takes over nothing has been begun: SIGTERM just exits, as a run that has cells left does."""
    if os.name == "posix":
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(1))


def leave_if_terminated(status: int) -> None:
    """Exit at once where SIGTERM came."""
    if _terminated.is_set():
        leave(status)


def leave(status: int) -> NoReturn:
    """Exit at once: taking down an interpreter with torch in it takes seconds on a busy machine."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def requeue(environment: Mapping[str, str] = os.environ) -> str:
    """Ask Slurm to put this job into its queue again; returns what is said about it."""
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
    """Python writes a signal's number to the wake-up socket only while it has a handler."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Stopped("SIGTERM")


def _hear(
    heard: socket.socket, reasons: Mapping[signal.Signals, str], stop: StopRequest, over: threading.Event, last: bool
) -> None:
    with heard:
        while received := heard.recv(1):
            number = received[0]
            if number not in [*reasons]:
                continue
            stop.request(reasons[signal.Signals(number)])
            if number == signal.SIGTERM:
                _terminated.set()
                _insist(over, last)


def _insist(over: threading.Event, last: bool) -> None:
    end = time.monotonic() + EXIT_SECONDS
    if not over.wait(RAISE_SECONDS):
        with _insisting:
            if not over.is_set():
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
    if last or not over.wait(end - time.monotonic()):
        time.sleep(max(end - time.monotonic(), 0.0))
        if not over.is_set():
            with suppress(OSError):
                os.write(
                    2,
                    b"SIGTERM, in the middle of what cannot be interrupted: finished cells and checkpoints are kept\n",
                )
        os._exit(1)
