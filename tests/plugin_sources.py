"""The distributions under ``plugins/``, put on the path as pip would have installed them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """One folder under ``plugins/``."""

    folder: Path
    name: str
    version: str
    entry_points: dict[str, str]

    @property
    def source(self) -> Path:
        """What goes on the path."""
        return self.folder / "src"


def distributions() -> list[Distribution]:
    """All of them, by name."""
    found = []
    for file in sorted(PLUGINS.glob("*/pyproject.toml")):
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        points = project["entry-points"]["benchbench"]
        found.append(
            Distribution(folder=file.parent, name=project["name"], version=project["version"], entry_points=points)
        )
    return found


def put_on_path(distribution: Distribution, metadata: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a distribution importable, and its entry points known, for the length of a test."""
    info = metadata / f"{distribution.name.replace('-', '_')}-{distribution.version}.dist-info"
    info.mkdir(parents=True)
    text = f"Metadata-Version: 2.1\nName: {distribution.name}\nVersion: {distribution.version}\n"
    (info / "METADATA").write_text(text)
    lines = [f"{name} = {target}" for name, target in distribution.entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[benchbench]", *lines]) + "\n")
    monkeypatch.syspath_prepend(distribution.source)
    monkeypatch.syspath_prepend(metadata)
