"""The check for executors finds each broken promise."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from benchbench.contract import Host, Work
from benchbench.executors.local import LocalExecutor
from benchbench.testing import ConformanceError, check_executor


class OneAfterTheOther:
    """A plain executor, to be broken."""

    def execute(self, work: Work, host: Host) -> None:
        for unit in work.units:
            while unit.name in host.left():
                self.carry_out(work, unit.name, host)

    def carry_out(self, work: Work, unit: str, host: Host) -> None:
        process = subprocess.Popen(work.command(unit, [unit]))
        try:
            while process.poll() is None:
                host.wait(0.05)
        finally:
            self.end(process)
        if process.returncode:
            host.died(unit, f"ended with {process.returncode}")

    def end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()


class Forgetful(OneAfterTheOther):
    def execute(self, work: Work, host: Host) -> None:
        for unit in work.units[:-1]:
            while unit.name in host.left():
                self.carry_out(work, unit.name, host)


class Silent(OneAfterTheOther):
    def carry_out(self, work: Work, unit: str, host: Host) -> None:
        subprocess.run(work.command(unit, [unit]))


class Homemade(OneAfterTheOther):
    def carry_out(self, work: Work, unit: str, host: Host) -> None:
        if unit == "fragile":
            return super().carry_out(work, unit, host)
        (work.folder / "pids" / unit).write_text(str(os.getpid()))
        (work.folder / "done" / unit).write_text("")
        return None


class Deaf(OneAfterTheOther):
    def execute(self, work: Work, host: Host) -> None:
        try:
            super().execute(work, host)
        except BaseException:
            if work.units[0].name != "slow":
                raise


class Careless(OneAfterTheOther):
    def end(self, process: subprocess.Popen[bytes]) -> None:
        self.left_behind = process


def test_right_executors_pass(tmp_path: Path) -> None:
    check_executor(OneAfterTheOther())
    check_executor(LocalExecutor(threads=1), folder=tmp_path)


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        (object(), "type"),
        (Forgetful(), "left: \\['last'\\]"),
        (Silent(), "reported once"),
        (Homemade(), "other processes"),
        (Deaf(), "let through"),
    ],
)
def test_broken_promise_is_found(executor: object, message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        check_executor(executor)  # type: ignore[arg-type]


def test_worker_left_behind_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchbench.testing.executors.END_SECONDS", 0.2)
    careless = Careless()
    try:
        with pytest.raises(ConformanceError, match="workers are stopped"):
            check_executor(careless)
    finally:
        careless.left_behind.kill()
        careless.left_behind.wait()


def test_workers_that_outlive_the_run_by_design_may(monkeypatch: pytest.MonkeyPatch) -> None:
    careless = Careless()
    check_executor(careless, outlives=True)
    careless.left_behind.kill()
    careless.left_behind.wait()
