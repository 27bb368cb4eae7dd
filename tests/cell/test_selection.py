"""Choosing cells of the paper's suite by columns and options, and what is said where none is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchbench.contract import DataSource
from benchbench.errors import UsageError
from benchbench.planning import Plan, make_plan
from benchbench.registry import load_registry
from benchbench.suite import read_suite


@pytest.fixture
def source(tmp_path: Path) -> DataSource:
    return DataSource(root=tmp_path, cache=tmp_path)


def planned(source: DataSource, *only: str, profile: str = "quick") -> Plan:
    registry = load_registry()
    return make_plan(read_suite("closer-look", registry), registry, profile=profile, source=source, only=only)


def test_options_choose_cells_like_columns(source: DataSource) -> None:
    plan = planned(source, "dataset=digits", "beta=6", "attack=pgd-10")
    assert [cell.identity["defense"] for cell in plan.cells] == ["trades"]
    assert '"beta":6.0' in str(plan.cells[0].identity["defense_options"])


def test_values_as_listed_can_be_pasted_back(source: DataSource) -> None:
    every = planned(source, "dataset=digits", "defense=trades")
    for name in ("defense_options", "attack_options", "epsilon", "experiment", "cell_id"):
        value = every.cells[0].identity[name]
        found = planned(source, "dataset=digits", "defense=trades", f"{name}={value}").cells
        assert every.cells[0].identity in [cell.identity for cell in found]
        assert all(cell.identity[name] == value for cell in found)


@pytest.mark.parametrize(
    ("only", "hint"),
    [
        ("architecture=cnn1", "the suite has it in --profile paper and short"),
        ("betta=6", "did you mean 'beta'"),
        ("beta=7", "known: 0.0001, 1.0, 3.0, 6.0"),
        ("defense=trade", "did you mean 'trades'"),
    ],
)
def test_nearest_names_come_from_all_profiles(only: str, hint: str, source: DataSource) -> None:
    with pytest.raises(UsageError) as caught:
        planned(source, only)
    assert hint in caught.value.hint
