"""docs/scale.md says what its commands give: the table and the prices are made again from the timings beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

import benchbench
from benchbench.plan import Plan, bill, bills
from benchmarks.schedule import draw, table

DOCS = Path(__file__).resolve().parents[2] / "docs"
OVERHEAD = 0.72


@pytest.fixture(scope="module")
def plan() -> Plan:
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


def test_the_plot_can_be_drawn(plan: Plan, tmp_path: Path) -> None:
    draw(plan, tmp_path / "scale.png", OVERHEAD)
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")
