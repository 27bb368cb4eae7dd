"""``benchbench status`` reads pending, running, done and failed cells from the runs folder alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
from cli.conftest import Command, WriteSuite

from benchbench.records.claims import Claims


def states(command: Command, suite: Path) -> dict[str, list[str]]:
    """Defenses by state."""
    found: dict[str, list[str]] = {}
    for cell in command("status", "--suite", suite, "--json").document["states"]:
        found.setdefault(cell["state"], []).append(cell["label"].split(",")[0].split()[-1])
    return found


def test_cells_are_pending_before_and_done_after_a_run(
    command: Command, write_suite: WriteSuite, tmp_path: Path
) -> None:
    suite = write_suite(defenses=["natural", "at"])
    assert states(command, suite) == {"pending": ["natural", "at"]}
    command("run", "--suite", suite, "--only", "defense=at")
    assert states(command, suite) == {"pending": ["natural"], "done": ["at"]}
    answer = command("status", "--suite", suite)
    assert answer.status == 0
    assert answer.out == "tiny, quick profile: 1 pending, 0 running, 1 done, 0 failed, 0 skipped\n"


def test_cell_that_somebody_computes_is_running(command: Command, write_suite: WriteSuite, tmp_path: Path) -> None:
    suite = write_suite(defenses=["natural", "at"])
    cells = command("status", "--suite", suite, "--json").document["states"]
    runs = tmp_path / "benchbench-home" / "runs"
    with Claims(runs / "claims").held(cells[1]["cell_id"]):
        assert states(command, suite) == {"pending": ["natural"], "running": ["at"]}
        assert "process" in command("status", "--suite", suite).out
    assert states(command, suite) == {"pending": ["natural", "at"]}


def test_failed_cell_is_shown_with_its_error(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite(defenses=["natural"], learning_rate=1e30, epochs=2)
    command("run", "--suite", suite)
    (cell,) = command("status", "--suite", suite, "--json").document["states"]
    assert cell["state"] == "failed"
    assert cell["detail"] in command("status", "--suite", suite).out


def test_leaderboard_is_brought_up_to_date(command: Command, write_suite: WriteSuite, tmp_path: Path) -> None:
    suite = write_suite(defenses=["natural"])
    command("run", "--suite", suite)
    shutil.rmtree(tmp_path / "leaderboards")
    assert command("status", "--suite", suite, "--json").document["cells"]["done"] == 1
    assert pq.read_table(tmp_path / "leaderboards" / "tiny.parquet").num_rows == 1


def test_unknown_suite_is_refused(command: Command) -> None:
    assert command("status", "--suite", "nowhere").status == 2
