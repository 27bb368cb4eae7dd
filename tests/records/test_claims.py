"""Claims: one holder at a time, the dead are succeeded by one of those who wait, and nobody else's claim is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import run_processes
from run_processes import lines, results, start, wait_for, write_suite

from benchbench.errors import StorageError
from benchbench.leaderboard import read_rows
from benchbench.processes import host as this_host
from benchbench.records import RunStore, claims
from benchbench.records.claims import Claims


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "claims"


def dead_process() -> int:
    """The number of a process that is over."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def plant(folder: Path, name: str, *, host: str | None = None, pid: int | None = None, age: float = 0.0) -> Path:
    """A claim of somebody else's."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    owner = {
        "host": this_host() if host is None else host,
        "pid": pid or dead_process(),
        "started": "1",
        "token": "abc",
    }
    path.write_text(json.dumps(owner))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_claim_has_one_holder_at_a_time(folder: Path) -> None:
    ours, theirs = Claims(folder), Claims(folder)
    with ours.held("cell") as mine:
        assert mine
        with theirs.held("cell") as also, theirs.held("other") as other:
            assert (also, other) == (False, True)
        owner = json.loads((folder / "cell.json").read_text())
        assert (owner["pid"], owner["host"]) == (os.getpid(), this_host())
    assert list(folder.iterdir()) == []
    with theirs.held("cell") as free:
        assert free


def test_claim_is_released_when_the_work_raises(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Claims(folder).held("cell"):
        raise KeyboardInterrupt
    assert list(folder.iterdir()) == []


def test_claim_of_a_dead_process_is_taken_over_at_once(folder: Path) -> None:
    plant(folder, "cell")
    with Claims(folder).held("cell") as mine:
        assert mine


def test_number_of_a_process_that_was_given_away_again_is_not_its_owner(folder: Path) -> None:
    plant(folder, "cell", pid=os.getpid())  # runs, but did not start at clock tick 1
    with Claims(folder).held("cell") as mine:
        assert mine


@pytest.mark.parametrize(("age", "expected"), [(0.0, False), (400.0, False), (600.0, True), (1000.0, True)])
def test_claim_of_another_machine_is_taken_over_when_its_heart_has_stopped(
    folder: Path, age: float, expected: bool
) -> None:
    plant(folder, "cell", host="elsewhere", age=age)
    with Claims(folder, stale_seconds=500).held("cell") as mine:
        assert mine is expected


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"token": "../../etc"}', b"\xff"])
def test_claim_that_cannot_be_read_is_judged_by_its_age(folder: Path, content: bytes) -> None:
    path = plant(folder, "cell", age=50.0)
    path.write_bytes(content)
    with Claims(folder, stale_seconds=500).held("cell") as mine:
        assert not mine
    os.utime(path, (0, 0))
    with Claims(folder, stale_seconds=500).held("cell") as mine:
        assert mine


@pytest.mark.parametrize(("age", "expected"), [(0.0, False), (20.0, True)])
def test_claim_of_a_process_that_was_killed_before_it_wrote_blocks_nobody_for_long(
    folder: Path, age: float, expected: bool
) -> None:
    plant(folder, "cell").write_bytes(b"")
    os.utime(folder / "cell.json", (time.time() - age, time.time() - age))
    with Claims(folder, stale_seconds=500).held("cell") as mine:
        assert mine is expected


def test_heart_beats_while_a_claim_is_held_and_stops_then(folder: Path) -> None:
    with Claims(folder, stale_seconds=0.4).held("cell"):
        path = folder / "cell.json"
        os.utime(path, (0, 0))
        wait_for(lambda: path.stat().st_mtime > 0)
    wait_for(lambda: all(thread.name != "heartbeat" for thread in threading.enumerate()))


def test_heart_does_not_beat_for_whoever_took_over(folder: Path) -> None:
    with Claims(folder, stale_seconds=0.2).held("cell"):
        path = plant(folder, "cell", age=1000.0)
        time.sleep(0.3)
        assert path.stat().st_mtime < time.time() - 900
    assert path.exists()


def test_of_many_that_find_a_dead_owner_one_succeeds(folder: Path) -> None:
    together, done = threading.Barrier(8), threading.Barrier(8)
    for attempt in range(20):
        name = f"cell{attempt}"
        plant(folder, name, pid=None if attempt == 0 else 2**22 - attempt)
        won: list[bool] = []

        def race(name: str = name, won: list[bool] = won) -> None:
            together.wait()
            with Claims(folder).held(name) as mine:
                won.append(mine)
                done.wait()

        threads = [threading.Thread(target=race) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Counter(won) == {True: 1, False: 7}
    assert list(folder.iterdir()) == []


def test_successor_that_died_before_renaming_is_removed(folder: Path) -> None:
    path = plant(folder, "cell")
    successor = folder / f"{path.name}.abc.successor"
    successor.write_text("{}")
    with Claims(folder, stale_seconds=500).held("cell") as mine:
        assert not mine
    os.utime(successor, (0, 0))
    with Claims(folder, stale_seconds=500).held("cell") as mine:
        assert not mine
    with Claims(folder, stale_seconds=500).held("cell") as mine:
        assert mine


def test_successor_of_a_dead_process_is_removed_at_once(folder: Path) -> None:
    path = plant(folder, "cell")
    plant(folder, "other").rename(folder / f"{path.name}.abc.successor")
    claims = Claims(folder, stale_seconds=500)
    with claims.held("cell") as mine:
        assert not mine
    with claims.held("cell") as mine:
        assert mine


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b'{"host": "elsewhere", "pid": 1, "token": "abc"}'])
def test_claim_from_the_future_is_taken_over_once_nobody_renews_it(folder: Path, content: bytes) -> None:
    path = plant(folder, "cell", age=-1e6)
    path.write_bytes(content)
    os.utime(path, (time.time() + 1e6, time.time() + 1e6))
    waiting = Claims(folder, stale_seconds=0.3)
    with waiting.held("cell") as mine:
        assert not mine
    assert waiting.owner("cell") == ""
    time.sleep(0.4)
    with waiting.held("cell") as mine:
        assert mine
    assert list(folder.iterdir()) == []


def test_claim_from_the_future_that_is_renewed_stays(folder: Path) -> None:
    path = plant(folder, "cell", host="elsewhere", age=-1e6)
    waiting = Claims(folder, stale_seconds=0.3)
    for beat in range(4):
        os.utime(path, (time.time() + 1e6 + beat, time.time() + 1e6 + beat))  # the clock of its file system is ahead
        with waiting.held("cell") as mine:
            assert not mine
        time.sleep(0.15)


def test_successor_from_the_future_blocks_nobody_for_long(folder: Path) -> None:
    path = plant(folder, "cell")
    successor = folder / f"{path.name}.abc.successor"
    successor.write_bytes(b"")
    os.utime(successor, (time.time() + 1e6, time.time() + 1e6))
    waiting, taken = Claims(folder, stale_seconds=0.2), False
    wait_until = time.monotonic() + 5
    while not taken and time.monotonic() < wait_until:
        with waiting.held("cell") as taken:
            pass
        time.sleep(0.05)
    assert taken
    assert list(folder.iterdir()) == []


def test_claim_written_by_a_process_that_slept_meanwhile_is_not_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    awake = Claims(folder)
    with ExitStack() as held:

        def sleep_and_write(descriptor: int, content: bytes) -> None:
            monkeypatch.undo()
            os.utime(folder / "cell.json", (0, 0))  # minutes later
            assert held.enter_context(awake.held("cell"))
            os.write(descriptor, content)

        monkeypatch.setattr(claims, "write_whole", sleep_and_write)
        with Claims(folder).held("cell") as mine:
            assert not mine
    assert list(folder.iterdir()) == []


def test_new_claim_is_not_taken_for_an_abandoned_one_that_is_empty_too(folder: Path) -> None:
    """A new claim is empty for a moment, in which another process may be about to replace the old one."""
    path = plant(folder, "cell", age=1e6)
    path.write_bytes(b"")
    os.utime(path, (0, 0))
    seen = claims._read(path)
    path.unlink()
    path.write_bytes(b"")  # another process has just created its claim
    assert claims._read(path) != seen


def test_claims_that_killed_processes_left_are_removed_by_the_next_one_that_works(folder: Path) -> None:
    plant(folder, "dead")
    plant(folder, "elsewhere", host="elsewhere", age=2 * 86400)
    plant(folder, "alive", host="elsewhere", age=60)
    old, new = folder / "x.json.abc.successor", folder / "y.json.abc.successor"
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    with Claims(folder, stale_seconds=1e9).held("dead") as mine:
        assert mine
    assert {path.name for path in folder.iterdir()} == {"alive.json", "elsewhere.json", new.name}
    with Claims(folder).held("cell"):
        pass
    assert {path.name for path in folder.iterdir()} == {"alive.json", new.name}


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="not a folder"), Claims(tmp_path / "file" / "claims").held("cell"):
        pass


def read_while(processes: Sequence[BaseProcess], folder: Path) -> tuple[list[str], int]:
    """Read the leaderboard and every record again and again until the processes are over: what was wrong, and how often."""
    torn: list[str] = []
    looks = 0
    while any(process.is_alive() for process in processes):
        store = RunStore(folder / "runs", on_problem=torn.append)
        board = folder / "leaderboards" / "tiny.parquet"
        known = store.rows("tiny")
        if board.exists():
            ids = [row.cell_id for row in read_rows(board, on_problem=torn.append)]
            torn += [f"{cell_id} is there twice" for cell_id, count in Counter(ids).items() if count > 1]
        torn += [f"{row.cell_id} without outcomes" for row in known if store.read_outcomes(row.outcomes_digest) is None]
        looks += bool(known)
    return torn, looks


def test_processes_at_once_compute_every_cell_once_and_all_end_with_all_rows(tmp_path: Path) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    for place in (together, alone):
        write_suite(place, seeds=[0, 1])
    run_processes.run(alone)
    row = run_processes.rows(alone)[0]
    plant(together / "runs" / "claims", row.model_id)  # left behind by a process that was killed
    plant(together / "runs" / "claims", row.cell_id)
    log = tmp_path / "log"
    processes = [start(run_processes.run_and_tell, together, log) for _ in range(8)]
    torn, looks = read_while(processes, together)
    assert [process.exitcode for process in processes] == [0] * 8
    assert torn == []
    assert looks > 3
    counts = Counter(lines(log))
    assert counts["trained"] == 4
    assert Counter(count for line, count in counts.items() if line.startswith("finished")) == {1: 8}
    assert counts["rows 8 failed 0"] == 8
    assert results(together) == results(alone)
    assert list((together / "runs" / "claims").iterdir()) == []


def test_processes_of_a_fresh_run_train_each_model_once_and_anew(tmp_path: Path) -> None:
    write_suite(tmp_path, seeds=[0, 1])
    run_processes.run(tmp_path)
    before = results(tmp_path)
    models = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "models").iterdir()}
    log = tmp_path / "log"
    processes = [start(run_processes.run_and_tell, tmp_path, log, together=4, fresh=True) for _ in range(4)]
    for process in processes:
        process.join()
    counts = Counter(lines(log))
    assert counts["trained"] == len(models) == 4
    assert Counter(count for line, count in counts.items() if line.startswith("finished")) == {1: 8}
    assert all(path.stat().st_mtime_ns > written for path, written in models.items())
    assert results(tmp_path) == before


def test_killed_process_is_succeeded_by_one_that_waits(tmp_path: Path) -> None:
    for place in (tmp_path / "pair", tmp_path / "alone"):
        write_suite(place, epochs=20, defenses=["natural"])
    log, other = tmp_path / "log", tmp_path / "other"
    doomed = start(run_processes.run_slowly, tmp_path / "pair", log)
    wait_for(lambda: bool(lines(log)))
    heir = start(run_processes.run_and_tell, tmp_path / "pair", other)
    wait_for(lambda: bool(lines(other)))
    doomed.kill()
    doomed.join()
    heir.join()
    assert lines(other)[-1] == "rows 2 failed 0"
    run_processes.run(tmp_path / "alone")
    assert results(tmp_path / "pair") == results(tmp_path / "alone")
