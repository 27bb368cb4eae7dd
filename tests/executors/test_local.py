"""Worker processes on one machine: the same rows as one process, whatever dies, and none that outlives its run."""

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
from run_processes import lines, results, rows, run, wait_for, write_suite

from benchbench.contract import Work, WorkUnit
from benchbench.errors import ExecutorError, OptionError, UsageError
from benchbench.events import CellFailed, CellStarted, Event, Note, TrainingProgress, WorkerProgress
from benchbench.executors.local import LocalExecutor
from benchbench.kernels.determinism import on_threads
from benchbench.stopping import BUDGET_USED, Stopped, StopRequest

DEADLY = '''
"""A defense that kills the process that trains with it."""
import os
import signal

from benchbench.contract import Offer, hookimpl


class Deadly:
    def loss(self, model, images, labels, *, threat, generator):
        os.kill(os.getpid(), signal.SIGKILL)


@hookimpl
def benchbench_defenses():
    return [Offer(name="deadly", summary="Kills", factory=Deadly)]
'''


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Rows are bit-identical for the same number of threads."""
    with on_threads(1):
        yield


@pytest.fixture
def one_process(tmp_path: Path) -> Path:
    """The suite, computed by this process alone."""
    folder = tmp_path / "one"
    write_suite(folder, seeds=[0, 1])
    run(folder)
    return folder


def test_workers_leave_what_one_process_leaves(one_process: Path, tmp_path: Path) -> None:
    folder = tmp_path / "several"
    write_suite(folder, seeds=[0, 1])
    heard: list[Event] = []
    result = run(folder, heard.append, jobs=2, executor={"name": "local", "threads": 1})
    assert (result.finished, result.failed, result.left) == (8, 0, 0)
    assert results(folder) == results(one_process)
    workers = {event.worker for event in heard if isinstance(event, WorkerProgress)}
    assert workers == {1, 2}
    assert not [*folder.glob("runs/jobs/*")]


def test_killed_worker_costs_no_row(one_process: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    write_suite(folder, seeds=[0, 1])
    heard: list[Event] = []
    pids: list[int] = []

    def kill_the_first(event: Event) -> None:
        heard.append(event)
        if isinstance(event, Note) and event.message.startswith("worker 1: process") and not pids:
            pids.append(int(event.message.split()[3]))
        begun = isinstance(event, WorkerProgress) and event.worker == 1 and isinstance(event.event, CellStarted)
        if begun and pids[0]:
            os.kill(pids[0], signal.SIGKILL)
            pids[0] = 0

    result = run(folder, kill_the_first, jobs=2, executor={"name": "local", "threads": 1})
    assert pids == [0]
    assert (result.failed, result.left, len(result.rows)) == (0, 0, 8)
    assert rows(folder) == rows(one_process)
    said = [event.message for event in heard if isinstance(event, Note)]
    assert any("killed by SIGKILL" in message for message in said)


@pytest.mark.exhaustive  # starts workers again and again
def test_cell_that_kills_its_workers_is_recorded_as_failed_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    info = tmp_path / "deadly-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[benchbench]\ndeadly = deadly\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(
        "benchbench.pricing.cells.price", lambda plan, *_: plan
    )  # it would count passes in this process
    write_suite(tmp_path, defenses=["deadly", "natural"], attacks=["pgd-10"])
    heard: list[Event] = []
    result = run(tmp_path, heard.append, executor={"name": "local", "threads": 1})
    assert [(row.defense, row.status) for row in result.rows] == [("deadly", "failed"), ("natural", "ok")]
    (failure,) = [event for event in heard if isinstance(event, CellFailed)]
    assert "2 worker processes died" in failure.error


def test_workers_that_cannot_start_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_suite(tmp_path)
    monkeypatch.setenv("PYTHONHOME", str(tmp_path / "nowhere"))
    with pytest.raises(ExecutorError, match="before they began a cell"):
        run(tmp_path, executor={"name": "local", "threads": 1})


def test_stop_request_reaches_the_workers(tmp_path: Path) -> None:
    write_suite(tmp_path, epochs=100_000)
    stop = StopRequest()
    heard: list[Event] = []

    def trains() -> bool:
        return any(isinstance(event, WorkerProgress) and isinstance(event.event, TrainingProgress) for event in heard)

    threading.Thread(target=lambda: (wait_for(trains), stop.request("enough")), daemon=True).start()
    result = run(tmp_path, heard.append, stop=stop, executor={"name": "local", "threads": 1})
    assert (result.stopped, result.finished, result.left) == ("enough", 0, 4)
    assert [*tmp_path.glob("runs/models/*.safetensors")]  # the worker wrote its checkpoint
    assert not [*tmp_path.glob("runs/claims/*.json")]


@pytest.mark.exhaustive  # waits for workers
def test_budget_of_the_run_ends_its_workers_and_is_the_reason(tmp_path: Path) -> None:
    write_suite(tmp_path, epochs=1_000_000, defenses=["natural"], attacks=["pgd-10"], seeds=[0, 1])
    begun: list[float] = []

    def note_the_beginning(event: Event) -> None:
        if isinstance(event, WorkerProgress) and isinstance(event.event, TrainingProgress):
            begun.append(stop.seconds_left)

    stop = StopRequest(12.0)
    result = run(tmp_path, note_the_beginning, jobs=2, executor={"name": "local", "threads": 1}, stop=stop)
    assert (result.stopped, stop.reason, result.left) == (BUDGET_USED, BUDGET_USED, 2)
    assert len([*tmp_path.glob("runs/models/*.safetensors")]) == 2 or not begun
    assert -4.0 < min(begun, default=0.0) < 3.0  # seconds before the end at which they still trained


@pytest.mark.exhaustive  # waits for workers
def test_storage_problem_of_a_worker_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_suite(tmp_path)
    monkeypatch.setattr("benchbench.executors.carrying.write_job", lambda job, suite: None)
    with pytest.raises(ExecutorError, match="ended with status 66"):
        run(tmp_path, executor={"name": "local", "threads": 1})


@pytest.mark.parametrize("options", [{"threads": 0}, {"gpu_memory_gb": -1.0}])
def test_option_out_of_range_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="must be above 0"):
        LocalExecutor(**options)


def test_unknown_executor_and_no_job_are_refused(tmp_path: Path) -> None:
    write_suite(tmp_path)
    with pytest.raises(UsageError, match="unknown executor 'slum'") as caught:
        run(tmp_path, executor="slum")
    assert "slurm" in caught.value.hint
    with pytest.raises(UsageError, match="at least one job"):
        run(tmp_path, jobs=0)


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
