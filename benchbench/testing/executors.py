"""Checks for executors, with workers that train nothing."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from benchbench.contract import Executor, Work, WorkUnit
from benchbench.testing.conformance import ConformanceError, expect, expect_method, name_of

PATIENCE_SECONDS = 120.0
END_SECONDS = 15.0
_TOKEN = "conformance"  # noqa: S105  # no secret: it identifies a folder


class _StopNow(BaseException):
    """Ends a run early; like the host's own, it is no `Exception`."""


class ToyHost:
    """The host of toy work in a folder, with named units.

    The run ends when the file `stop_at` appears; None for never.
    """

    def __init__(self, folder: Path, units: tuple[str, ...], *, stop_at: Path | None = None) -> None:
        self._folder, self._units, self._stop_at = folder, units, stop_at
        self._end = time.monotonic() + PATIENCE_SECONDS
        self.deaths: list[tuple[str, str]] = []
        self.said: list[str] = []

    def wait(self, seconds: float) -> None:
        """Wait, see `benchbench.contract.Host`; raise `ConformanceError` after `PATIENCE_SECONDS`."""
        time.sleep(min(max(seconds, 0.0), 0.2))
        if self._stop_at is not None and self._stop_at.exists():
            raise _StopNow
        if time.monotonic() > self._end:
            raise ConformanceError(
                "execute: end", expected="it returns when no unit is left", got=f"left: {sorted(self.left())}"
            )

    def left(self) -> frozenset[str]:
        """Units that are not done."""
        return frozenset(unit for unit in self._units if not (self._folder / "done" / unit).exists())

    def died(self, worker: str, reason: str) -> None:
        """Record a death."""
        self.deaths.append((worker, reason))

    def say(self, message: str) -> None:
        """Record a message."""
        self.said.append(message)


def check_executor(executor: Executor, *, folder: Path | None = None, outlives: bool = False) -> None:
    """Check an executor; a `ConformanceError` tells the first broken promise.

    Other processes carry out every unit. A killed worker is reported by its name, and its unit is carried out by another. An
    exception of `Host.wait` is let through, and no worker is left behind.

    Args:
        executor: the executor, options set.
        folder: an empty folder that its workers share with this process; None for a temporary one on this machine.
        outlives: whether its workers by design continue when the run ends early.
    """
    name = name_of(executor)
    expect_method(executor, Executor, "`execute`")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        _check_completion(name, executor, Path(place, "completion"))
        _check_end(name, executor, Path(place, "end"), outlives=outlives)


def _check_completion(name: str, executor: Executor, folder: Path) -> None:
    units = ("first", "second", "fragile", "last")
    host = ToyHost(folder, units)
    work = toy_work(folder, units)
    executor.execute(work, host)
    expect(not host.left(), f"{name}: units", expected="all carried out", got=f"left: {sorted(host.left())}")
    own = [unit for unit in units if _pid(folder, unit) == os.getpid()]
    expect(not own, f"{name}: workers", expected="other processes", got=f"{own} in the process of the run")
    once = "reported once with Host.died"
    expect(len(host.deaths) == 1, f"{name}: worker killed by SIGKILL", expected=once, got=host.deaths)
    named = all(isinstance(text, str) and text for text in host.deaths[0])
    expect(named, f"{name}: report of a death", expected="name of the worker, and reason", got=host.deaths[0])


def _check_end(name: str, executor: Executor, folder: Path, *, outlives: bool) -> None:
    host = ToyHost(folder, ("slow",), stop_at=folder / "pids" / "slow")
    try:
        executor.execute(toy_work(folder, ("slow",)), host)
    except _StopNow:
        pass
    else:
        raise ConformanceError(f"{name}: early end", expected="what Host.wait raises is let through", got="it returned")
    if outlives:
        return
    pid, end = _pid(folder, "slow"), time.monotonic() + END_SECONDS
    while _is_running(pid) and time.monotonic() < end:
        time.sleep(0.1)
    expect(not _is_running(pid), f"{name}: early end", expected="workers are stopped", got=f"process {pid} goes on")


def toy_work(folder: Path, units: tuple[str, ...], *, workers: int = 2) -> Work:
    """Make the folder and the `Work` of units for `benchbench.testing.toy_worker`."""
    for part in ("done", "begun", "pids"):
        (folder / part).mkdir(parents=True)
    (folder / "token").write_text(_TOKEN, encoding="utf-8")
    (folder / "units.json").write_text(json.dumps(units), encoding="utf-8")
    program = (sys.executable, str(Path(__file__).with_name("toy_worker.py")), str(folder), "--token", _TOKEN)
    return Work(
        name=f"toy-{folder.name}",
        folder=folder,
        token=_TOKEN,
        units=tuple(WorkUnit(name=unit, label=unit, defense="toy", cells=1, seconds=1.0) for unit in units),
        workers=workers,
        device="cpu",
        program=program,
    )


def _pid(folder: Path, unit: str) -> int:
    return int((folder / "pids" / unit).read_text(encoding="utf-8"))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
