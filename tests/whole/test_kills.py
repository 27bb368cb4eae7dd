"""SIGKILL at any moment, followed by the same command, gives what an uninterrupted run gives."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import run_processes
from run_processes import EXHAUSTIVE, lines, results, start, wait_for, write_suite

from benchbench.checking.verifying import verify

SMALL = {"defenses": ["natural"], "attacks": ["pgd-10"], "epochs": 1}


@pytest.fixture
def uninterrupted(tmp_path: Path) -> dict[str, Any]:
    """What the small suite gives when nothing disturbs it."""
    write_suite(tmp_path / "uninterrupted", **SMALL)
    run_processes.run(tmp_path / "uninterrupted")
    return results(tmp_path / "uninterrupted")


def kept(folder: Path) -> set[Path]:
    """The files that are there, without what a kill leaves half written."""
    return {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".tmp"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "last",
    [
        pytest.param(2, id="after each rename", marks=pytest.mark.exhaustive),
        pytest.param(3, id="before each rename", marks=pytest.mark.exhaustive),
        pytest.param(14, id="after each seventh rename"),
    ],
)
def test_run_killed_at_every_write_ends_up_the_same(tmp_path: Path, uninterrupted: dict[str, Any], last: int) -> None:
    """Each sitting completes one write, or seven; then it dies at once, or with the next file written and not yet renamed.

    Where that write takes the run no further (what says that an evaluation is open is written by each sitting), the next one
    completes one more.
    """
    folder, sittings, stalls = tmp_path / "killed", 0, 0
    write_suite(folder, **SMALL)
    while True:
        before = kept(folder)
        process = start(run_processes.run_dying_at_flush, folder, last + 2 * stalls)
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        stalls = 0 if kept(folder) != before else stalls + 1
        sittings += 1
        assert sittings < 60, "no progress from one sitting to the next"
    assert sittings >= 10 / (last // 2)
    run_processes.run(folder)
    assert results(folder) == uninterrupted
    assert [*folder.rglob("*.tmp")] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fresh_run_killed_at_every_write_leaves_rows_and_weights_that_verify_together(tmp_path: Path) -> None:
    """Each time with a copy of a finished run, of which the fresh run trains other weights; usually at each third write."""
    write_suite(tmp_path / "finished", **SMALL)
    run_processes.run(tmp_path / "finished")
    for moment in range(1, 60, 1 if EXHAUSTIVE else 3):
        folder = tmp_path / f"killed-{moment}"
        shutil.copytree(tmp_path / "finished", folder)
        process = start(run_processes.run_fresh_elsewhere_dying_at_flush, folder, moment)
        process.join()
        (verdict,) = verify(folder / "leaderboards" / "tiny.parquet", runs=folder / "runs", device="cpu")
        assert verdict.status == "confirmed", (moment, verdict)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert 10 < moment < 59
    assert len([*folder.glob("runs/models/*")]) == 1


def kill_at_random_moments(folder: Path, kills: int, seed: int, processes: int) -> None:
    """Start commands on a folder and kill each of them, until that has happened so often; three times a folder, then compare.

    Every other folder has a finished run, of which the killed commands are fresh runs: its rows are confirmed all the time.
    """
    draws = random.Random(seed)
    whole, log = folder / "uninterrupted", folder / "log"
    write_suite(whole, epochs=3)
    began = time.monotonic()
    start(run_processes.run_and_tell, whole, log).join()
    duration = time.monotonic() - began
    while kills > 0:
        place = folder / f"killed-{kills}"
        fresh = draws.random() < 0.5
        if fresh:
            shutil.copytree(whole, place)
        else:
            write_suite(place, epochs=3)
        for _ in range(3):
            log.unlink()
            started = [start(run_processes.run_and_tell, place, log, fresh=fresh) for _ in range(processes)]
            wait_for(lambda: bool(lines(log)))
            end = [time.monotonic() + draws.uniform(0.0, duration) for _ in started]
            for process, moment in sorted(zip(started, end), key=lambda pair: pair[1]):
                time.sleep(max(moment - time.monotonic(), 0.0))
                process.kill()
                process.join()
                kills -= 1
        if fresh:
            verdicts = verify(place / "leaderboards" / "tiny.parquet", runs=place / "runs", device="cpu")
            assert [verdict.status for verdict in verdicts] == ["confirmed"] * len(verdicts), verdicts
        run_processes.run(place)
        assert results(place) == results(whole)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_run_killed_at_random_moments_ends_up_the_same(tmp_path: Path, processes: int) -> None:
    kill_at_random_moments(tmp_path, kills=3, seed=processes, processes=processes)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.exhaustive  # takes a quarter of an hour
@pytest.mark.parametrize(("processes", "kills"), [(1, 70), (2, 66), (8, 64)])
def test_run_killed_at_two_hundred_random_moments_ends_up_the_same(tmp_path: Path, processes: int, kills: int) -> None:
    kill_at_random_moments(tmp_path, kills=kills, seed=10 + processes, processes=processes)
