"""Recomputing a cell from its row: equal where nothing has changed, and otherwise it is said what did."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from run_processes import run, write_suite

from benchbench import builtin
from benchbench.checking.rerunning import compare, rerun
from benchbench.cli import invoke
from benchbench.errors import UsageError
from benchbench.records import Row


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    place = tmp_path_factory.mktemp("recorded")
    write_suite(place, attacks=["pgd-10"], metrics=["accuracy", "adversarial-accuracy", "lipschitz"])
    assert run(place).failed == 0
    return place


@pytest.fixture(scope="module")
def recorded(folder: Path) -> tuple[Row, ...]:
    return run(folder).rows


def test_cell_recomputed_where_nothing_changed_is_bit_identical(folder: Path, recorded: tuple[Row, ...]) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    for row in recorded:
        result = rerun(row.cell_id, runs=folder / "runs", device="cpu")
        assert (result.verdict, result.differences, result.unequal_files) == ("bit-identical", (), ())
        assert not set(result.changes) - {"git_commit"}  # others may commit meanwhile
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_row_of_a_leaderboard_is_recomputed_without_its_runs_folder(folder: Path, recorded: tuple[Row, ...]) -> None:
    leaderboard = folder / "leaderboards" / "tiny.parquet"
    result = rerun(recorded[0].cell_id[:10], runs=folder / "nowhere", leaderboard=leaderboard, device="cpu")
    assert result.verdict == "bit-identical"


def test_cell_is_recomputed_with_as_many_threads_as_its_row_says(recorded: tuple[Row, ...], folder: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        result = rerun(recorded[0].cell_id, runs=folder / "runs", device="cpu")
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    assert (result.verdict, "device" in result.changes) == ("bit-identical", False)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "bit-identical"),
        ({"test_accuracy": 2 / 32}, "within tolerance"),
        ({"test_accuracy": 3 / 32}, "drifted"),
        ({"test_lipschitz": 1.01}, "within tolerance"),
        ({"test_lipschitz": 1.5}, "drifted"),
        ({"test_lipschitz": None}, "drifted"),
        ({"outcomes_digest": "0" * 64}, "within tolerance"),
    ],
    ids=str,
)
def test_verdict_follows_the_largest_difference(
    recorded: tuple[Row, ...], changes: dict[str, Any], verdict: str
) -> None:
    nothing = {"test_accuracy": 0.0, "test_lipschitz": 1.0}
    row = dataclasses.replace(recorded[0], **nothing)
    now = dataclasses.replace(row, **changes)
    result = compare(row, now, data_digest=row.dataset_digest)
    assert result.verdict == verdict
    assert {difference.column for difference in result.differences} == set(changes) - {"outcomes_digest"}


def test_what_changed_is_named(recorded: tuple[Row, ...]) -> None:
    versions = {**json.loads(recorded[0].versions), "torch": "1.0"}
    row = dataclasses.replace(recorded[0], versions=json.dumps(versions), device="cuda (NVIDIA H200)")
    changes = compare(row, recorded[0], data_digest="f" * 64).changes
    assert set(changes) >= {"torch", "device", "dataset_digest"}
    assert changes["torch"][0] == "1.0"
    assert changes["dataset_digest"] == (row.dataset_digest, "f" * 64)


def test_component_with_another_revision_now_is_named(
    folder: Path, recorded: tuple[Row, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    natural, *others = builtin.offers("defense")
    changed = (dataclasses.replace(natural, revision=7), *others)
    monkeypatch.setattr(builtin, "benchbench_defenses", builtin.hookimpl(lambda: changed))
    (row,) = [row for row in recorded if row.defense == "natural"]
    changes = rerun(row.cell_id, runs=folder / "runs", device="cpu").changes
    assert changes["defense natural"] == ("revision 1", "revision 7")


def test_unknown_and_ambiguous_cells_are_told(folder: Path, recorded: tuple[Row, ...]) -> None:
    near = recorded[0].cell_id[:-1] + ("0" if recorded[0].cell_id[-1] != "0" else "1")
    with pytest.raises(UsageError, match=f"did you mean '{recorded[0].cell_id}'"):
        rerun(near, runs=folder / "runs")
    with pytest.raises(UsageError, match="may be meant by ''"):
        rerun("", runs=folder / "runs")


def test_command_prints_one_document_and_exits_with_1_on_drift(
    folder: Path, recorded: tuple[Row, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["rerun", recorded[0].cell_id, "--runs", str(folder / "runs"), "--device", "cpu"]
    assert invoke([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "bit-identical"
    import benchbench.checking.rerunning

    monkeypatch.setattr(benchbench.checking.rerunning, "_recorded", lambda *_: [worse])
    worse = dataclasses.replace(recorded[0], test_accuracy=1.0)
    assert invoke(arguments) == 1
    out = capsys.readouterr().out
    assert f"cell {worse.cell_id}: drifted" in out
    assert "test_accuracy" in out
