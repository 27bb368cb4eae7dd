"""The registry names built-in components by name, options and revision, under any release."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchbench.cell.model import to_json
from benchbench.registry import discovery, load_registry
from benchbench.version import DISTRIBUTION


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


def test_resolved_component_has_the_revision_of_its_offer() -> None:
    registry = load_registry()
    for name in ("llr", "trades", "gr"):
        assert registry.resolve("defense", name).revision == registry.get("defense", name).offer.revision
    assert registry.resolve("defense", "llr").revision > 1
    assert registry.resolve("defense", "gr").revision == 1
