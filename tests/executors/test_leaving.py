"""How workers end: at once, and not before the run that started them looks away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_processes import lines, wait_for, write_suite

from benchbench.contract import NOT_SHARED, Work, WorkUnit
from benchbench.executors.local import LocalExecutor
from benchbench.stopping import Stopped

SLOW_TO_LEAVE = """
import atexit, sys, time
atexit.register(time.sleep, 300)
from benchbench.cli import main
main(["work", sys.argv[1], "--token", "t", "--worker", "1"])
"""
RELUCTANT = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1.5), sys.exit(75)))
print(os.getpid(), file=open(sys.argv[1], "w"), flush=True)
time.sleep(300)
"""


class Interrupted:
    """A host whose run is to stop as soon as its worker is there."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def wait(self, seconds: float) -> None:
        wait_for(lambda: bool(lines(self._log)))
        raise Stopped("SIGTERM")

    def left(self) -> frozenset[str]:
        return frozenset({"a"})

    def died(self, worker: str, reason: str) -> None:
        pytest.fail(reason)

    def say(self, message: str) -> None:
        """Nothing."""


@pytest.fixture
def alarm() -> Iterator[None]:
    """Interrupt the main thread a moment after the run was asked to stop, as `stop_signals` does after SIGTERM."""

    def interrupt(*_: object) -> None:
        raise Stopped("SIGTERM")

    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_worker_does_not_wait_for_the_interpreter_to_be_taken_down(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW_TO_LEAVE, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == NOT_SHARED


@pytest.mark.usefixtures("alarm")
def test_run_that_is_interrupted_again_sees_its_workers_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    unit = WorkUnit(name="a", label="", defense="at", cells=1)
    program = (sys.executable, "-c", RELUCTANT, str(log))
    work = Work(name="w", folder=tmp_path, token="", units=(unit,), workers=1, device="cpu", program=program)

    def insist() -> None:
        wait_for(lambda: bool(lines(log)))
        time.sleep(0.5)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    threading.Thread(target=insist, daemon=True).start()
    with pytest.raises(Stopped):
        LocalExecutor(threads=1).execute(work, Interrupted(log))
    assert not is_alive(int(lines(log)[0]))


@pytest.mark.exhaustive  # waits for the workers' own end
def test_workers_leave_when_their_run_is_killed_in_the_middle_of_a_step(tmp_path: Path) -> None:
    write_suite(tmp_path, defenses=["at"], seeds=[0, 1], attacks=["pgd-10"])
    suite = tmp_path / "tiny.toml"
    suite.write_text(suite.read_text().replace('["at"]', '[{ name = "at", steps = 20000 }]'))
    places = ["--runs", str(tmp_path / "runs"), "--leaderboards", str(tmp_path / "leaderboards")]
    command = [
        sys.executable,
        "-m",
        "benchbench",
        "run",
        "--suite",
        str(suite),
        "--device",
        "cpu",
        "--jobs",
        "2",
        *places,
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        pids = []
        while len(pids) < 2:
            line = run.stderr.readline()
            assert line
            if line.startswith("worker ") and ": process " in line:
                pids.append(int(line.split()[3]))
        run.kill()
    sent = time.monotonic()
    wait_for(lambda: not any(map(is_alive, pids)))
    assert time.monotonic() - sent < 5.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
