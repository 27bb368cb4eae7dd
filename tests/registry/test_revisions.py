"""A built-in component counts in ids by name, options and revision, under any release."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from sample_rows import make_cell

from benchbench.cell.model import Component, canonical, digest, to_json
from benchbench.cell.reading import read_cell
from benchbench.contract import Offer
from benchbench.registry import discovery, load_registry
from benchbench.registry.offers import offer_mistakes
from benchbench.version import DISTRIBUTION

COMPONENT = Component(kind="defense", name="gr", options={"beta": 1.0}, distribution="benchbench", version="0.1.0")


def test_renamed_distribution_and_new_release_move_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_registry().resolve("attack", "pgd-10")
    monkeypatch.setattr(discovery, "DISTRIBUTION", "benchbench-renamed")
    monkeypatch.setattr(discovery, "__version__", "0.2.0")
    registry = load_registry()
    entry = registry.get("attack", "pgd-10")
    assert (entry.distribution, entry.version, entry.built_in) == ("benchbench-renamed", "0.2.0", True)
    assert to_json(registry.resolve("attack", "pgd-10")) == to_json(before)


def test_built_in_plugin_is_loaded_once_however_often_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("benchbench", DISTRIBUTION):  # the former name, and today's
        info = tmp_path / f"{name.replace('-', '_')}-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text("[benchbench]\nbuiltin = benchbench.builtin\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = load_registry()
    assert [plugin.distribution for plugin in registry.plugins if plugin.target == discovery.BUILT_IN] == [DISTRIBUTION]
    assert registry.problems == ()


def test_first_revision_is_left_out_of_digests_and_a_later_one_changes_them() -> None:
    assert "revision" not in canonical(COMPONENT)
    revised = dataclasses.replace(COMPONENT, revision=2)
    assert canonical(revised)["revision"] == 2
    assert digest(revised) != digest(COMPONENT)


def test_nested_component_with_a_revision_is_read_back() -> None:
    revised = dataclasses.replace(COMPONENT, revision=3)
    outer = dataclasses.replace(COMPONENT, name="outer", options={"inner": (revised,)})
    cell = make_cell(defense=outer)
    found = read_cell(to_json(cell))
    assert found == cell
    assert found.cell_id == cell.cell_id
    assert found.training.defense.options["inner"][0].revision == 3


def test_resolved_component_has_the_revision_of_its_offer() -> None:
    registry = load_registry()
    for name in ("llr", "trades", "gr"):
        assert registry.resolve("defense", name).revision == registry.get("defense", name).offer.revision
    assert registry.resolve("defense", "llr").revision > 1
    assert registry.resolve("defense", "gr").revision == 1


@pytest.mark.parametrize("revision", [0, -1, 1.0, True, "2", None])
def test_revision_is_an_integer_of_at_least_one(revision: object) -> None:
    offer = Offer(name="a", summary="A toy.", factory="a:b", revision=revision)  # type: ignore[arg-type]
    assert offer_mistakes(offer) == ["a: revision must be an integer of at least 1"]
    assert offer_mistakes(dataclasses.replace(offer, revision=2)) == []
