"""The page about suites: its examples are read and planned, and it has every key."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from benchbench.contract import DataSource
from benchbench.contract.recipe import Recipe
from benchbench.planning import make_plan
from benchbench.registry import Registry
from benchbench.suite import read_suite, reading
from benchbench.suite.settings import MAXIMUM_SEEDS, SETTINGS_KEYS

DOCS = Path(__file__).parents[2] / "docs"
PAGE, TRAINING = ((DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("suite-format", "training"))
EXAMPLES = dict(re.findall(r"^```toml\n# (\S+\.toml)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_read_and_planned(name: str, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / name).write_text(EXAMPLES[name])
    suite = read_suite(tmp_path / name, registry)
    source = DataSource(root=tmp_path, cache=tmp_path / "cache")
    for profile in suite.profiles:
        plan = make_plan(suite, registry, profile=profile, source=source)
        assert not plan.with_status("failed")
        assert plan.cells


def test_page_has_no_other_examples() -> None:
    assert PAGE.count("```toml") == len(EXAMPLES) == 3


def test_example_of_radii_has_as_many_models_and_cells_as_the_page_says(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "radii.toml").write_text(EXAMPLES["radii.toml"])
    suite = read_suite(tmp_path / "radii.toml", registry)
    plan = make_plan(suite, registry, profile="paper", source=DataSource(root=tmp_path, cache=tmp_path))
    assert (len({cell.training.model_id for cell in plan.ready}), len(plan.ready)) == (6, 24)
    assert "These are 6 models and 24 cells." in PAGE


def test_page_on_training_has_every_field_of_a_recipe() -> None:
    assert [one.name for one in dataclasses.fields(Recipe) if f"`{one.name}`" not in TRAINING] == []


def test_page_has_every_key_and_limit() -> None:
    keys = (*reading._SUITE_KEYS, *reading._EXPERIMENT_KEYS, *SETTINGS_KEYS)
    missing = [key for key in keys if f"`{key}`" not in PAGE and f"[{key}" not in PAGE and f".{key}" not in PAGE]
    assert missing == []
    limits = PAGE.partition("## Limits")[2]
    for limit in (reading.MAXIMUM_PROFILES, reading.MAXIMUM_EXPERIMENTS, MAXIMUM_SEEDS, reading.MAXIMUM_CELLS):
        assert f"{limit:,}" in limits
