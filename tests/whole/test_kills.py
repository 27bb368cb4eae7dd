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

from benchbench.checking.replaying import verify

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
@pytest.mark.parametrize("last", [2, 3], ids=["after each rename", "before each rename"])
def test_run_killed_at_every_write_ends_up_the_same(tmp_path: Path, uninterrupted: dict[str, Any], last: int) -> None:
    """Each sitting completes one write; then it dies at once, or with the next file written and not yet renamed.

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
    assert sittings >= 10
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


def kill_at_random_moments(folder: Path, kills: int, seed: int) -> None:
    """Start runs and kill them until that has happened so often; three kills to a folder, then compare."""
    draws = random.Random(seed)
    write_suite(folder / "uninterrupted", epochs=3)
    log = folder / "log"
    began = time.monotonic()
    start(run_processes.run_and_tell, folder / "uninterrupted", log).join()
    duration = time.monotonic() - began
    while kills > 0:
        place = folder / f"killed-{kills}"
        write_suite(place, epochs=3)
        for _ in range(min(3, kills)):
            log.unlink()
            process = start(run_processes.run_and_tell, place, log)
            wait_for(lambda: bool(lines(log)))
            time.sleep(draws.uniform(0.0, duration))
            process.kill()
            process.join()
            kills -= 1
        run_processes.run(place)
        assert results(place) == results(folder / "uninterrupted")


@pytest.mark.slow
def test_run_killed_at_random_moments_ends_up_the_same(tmp_path: Path) -> None:
    kill_at_random_moments(tmp_path, kills=6, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not EXHAUSTIVE, reason="takes five minutes: set BENCHBENCH_EXHAUSTIVE=1")
def test_run_killed_at_fifty_random_moments_ends_up_the_same(tmp_path: Path) -> None:
    kill_at_random_moments(tmp_path, kills=50, seed=1)
