"""docs/scale.md says what its commands give: the table and the prices are made again from the timings beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_rows import make_row

import benchbench
from benchbench.kernels.determinism import on_threads
from benchbench.leaderboard import read_rows
from benchbench.planning import Plan, bill, bills
from benchmarks.schedule import draw, measured_table, measured_tasks, table
from benchmarks.simulation import longest_first, simulate

DOCS = Path(__file__).resolve().parents[2] / "docs"
OVERHEAD = 0.72


@pytest.fixture(scope="module")
def plan() -> Plan:
    with on_threads(1):  # as the timings were
        return benchbench.plan("closer-look", profile="paper", timings=DOCS / "scale-timings.json", device="cpu")


def test_the_page_has_the_simulated_schedules(plan: Plan) -> None:
    page = (DOCS / "scale.md").read_text(encoding="utf-8")
    for line in table(plan, OVERHEAD):
        assert line in page
    assert f"--overhead {OVERHEAD}" in page


def test_the_page_has_the_prices(plan: Plan) -> None:
    page = (DOCS / "scale.md").read_text(encoding="utf-8")
    for name, found in bills(plan.cells).items():
        if found.seconds > 3600 and "proof" not in name:
            assert f"| {name} | {found.cells} | {found.models} | {found.seconds / 3600:,.0f} |" in page
    total = bill(plan.cells)
    assert f"| total | {total.cells} | {total.models} | **{total.seconds / 3600:,.0f}** |" in page
    assert total.unpriced == 24


def test_measured_cells_make_a_schedule() -> None:
    first = {"model_id": "a", "train_seconds": 10.0, "n_test": 2048, "n_train_evaluated": 0}
    second = {**first, "model_id": "b", "train_seconds": 20.0}
    rows = [make_row(evaluate_seconds=seconds, **model) for model in (first, second) for seconds in (6.0, 4.0)]
    alone, shared = measured_tasks(rows, sharded=False), measured_tasks(rows, sharded=True)
    assert [task.after for task in alone] == [None, 0, 0, None, 3, 3]
    assert [simulate(alone, devices).seconds for devices in (1, 2, 4)] == [50.0, 26.0, 26.0]
    assert simulate(shared, 4).seconds == 23.0  # each evaluation of 2,048 examples in two shards
    (line,) = [line for line in measured_table(rows, (1, 4)) if line.startswith("| whole cells")]
    assert line.endswith("| 50 s (100%) | 26 s (48%) |")


def test_the_page_has_the_schedule_of_the_recorded_cells() -> None:
    page = " ".join((DOCS / "scale.md").read_text(encoding="utf-8").split())
    table = read_rows(DOCS.parent / "leaderboards" / "closer-look.parquet")
    rows = list(table.where(table.having("source", "measured") & table.having("profile", "short")))
    tasks = longest_first(measured_tasks(rows, sharded=True))
    alone, ten, some, many, most = (f"{simulate(tasks, devices).seconds:,.0f} s" for devices in (1, 10, 24, 100, 1000))
    assert f"{len(rows)} recorded cells ({alone} on a core" in page
    assert f"would take {ten} on 10 devices, {some} on 24, {many} on 100 or more." in page
    assert many == most


@pytest.mark.exhaustive
def test_the_plot_can_be_drawn(plan: Plan, tmp_path: Path) -> None:
    draw(plan, tmp_path / "scale.png", OVERHEAD)
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")
