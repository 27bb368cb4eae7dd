"""The staircase and the distance classifier as cells of the suite, from the plan to the leaderboard."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchbench.api import RunResult, plan, run
from benchbench.leaderboard import read_rows
from benchbench.reproduction.papers import find_table
from benchbench.reproduction.verdict_tables import comparison_table
from benchbench.reproduction.verdicts import tally


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def result(home: Path) -> RunResult:
    return run(
        "closer-look",
        profile="quick",
        only=["experiment=staircase-small,theory-spiral", "defense=natural,gr,at,trades,distance"],
        device="cpu",
        runs=home / "runs",
        leaderboards=home / "leaderboards",
    )


def test_every_cell_is_computed_and_a_second_run_finds_them_done(result: RunResult, home: Path) -> None:
    assert (result.finished, result.failed) == (8, 0)
    again = plan(
        "closer-look",
        profile="quick",
        only=["defense=gr,trades", "dataset=staircase"],
        runs=home / "runs",
        device="cpu",
    )
    assert [cell.status for cell in again.cells if cell.experiment == "staircase-small"] == ["done"] * 5


def test_rows_are_regressions_in_float64_without_epochs(result: RunResult) -> None:
    rows = [row for row in result.rows if row.dataset == "staircase"]
    assert {(row.attack, row.precision, row.epochs, row.n_train, row.n_test) for row in rows} == {
        ("exact", "float64", 0, 40, 10_000)
    }
    for row in rows:
        assert row.test_accuracy is None
        assert row.test_mse is not None
        assert row.adv_test_mse is not None
        assert row.extra["test_mse_low"] < row.test_mse < row.extra["test_mse_high"]
        assert row.adv_test_mse >= row.test_mse
        assert row.outcomes_digest
        assert row.witnesses_digest


def test_natural_at_and_trades_equal_the_published_table(result: RunResult) -> None:
    table = comparison_table(read_rows(result.leaderboard), find_table("arxiv-v1", "1"))
    exact = {
        line.entries[0].text: [entry.verdict for entry in line.entries[2:]]
        for line in table.lines
        if line.source == "measured" and line.entries[0].text.split(" ")[0] in ("Natural", "AT", "TRADES")
    }
    assert len(exact) == 5
    assert all(given == ["agrees exactly"] * 6 for given in exact.values())
    assert tally(table)["not run"] == 6  # LLR, left out here


def test_distance_classifier_is_astute_on_the_spiral(result: RunResult) -> None:
    (row,) = [row for row in result.rows if row.dataset == "spiral"]
    assert (row.defense, row.epochs) == ("distance", 0)
    assert row.test_accuracy == 1.0
    assert row.adv_test_accuracy == 1.0
