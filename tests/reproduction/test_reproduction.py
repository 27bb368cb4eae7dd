"""The suite's paper profile has a cell for every number that the papers print on image classifiers and staircases."""

from __future__ import annotations

from pathlib import Path

from sample_rows import make_row

from benchbench.contract import DataSource
from benchbench.leaderboard import published_rows
from benchbench.leaderboard.matching import is_of_setting
from benchbench.planning import make_plan
from benchbench.records import Row
from benchbench.registry import load_registry
from benchbench.reproduction.verdicts import is_of_method
from benchbench.suite import read_suite


def planned_rows(folder: Path) -> list[Row]:
    """A row with the identity of each cell of the paper profile; no data are needed to name them."""
    registry = load_registry()
    suite = read_suite("closer-look", registry)
    plan = make_plan(suite, registry, profile="paper", source=DataSource(root=folder, cache=folder))
    names = {"cell_id", "model_id", "status", "test_mse"}
    return [
        make_row(**{k: v for k, v in planned.identity.items() if k in Row.__dataclass_fields__ and k not in names})
        for planned in plan.cells
    ]


def test_every_published_row_has_a_planned_cell(tmp_path: Path) -> None:
    planned = planned_rows(tmp_path)
    missing = [
        f"{row.published_source} table {row.published_table}: {row.dataset} {row.architecture} {row.defense} {row.attack}"
        for row in published_rows()
        if not any(is_of_setting(row, cell) and is_of_method(row, cell) for cell in planned)
    ]
    assert missing == []
