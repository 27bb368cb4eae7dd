"""Small data sets in the true file formats."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from benchbench.contract import DataSource

Snapshot = dict[str, tuple[int, int]]


@pytest.fixture
def source(tmp_path: Path) -> DataSource:
    root = tmp_path / "data"
    root.mkdir()
    return DataSource(root=root, cache=tmp_path / "cache")


@pytest.fixture
def real_source(tmp_path: Path) -> DataSource:
    """The real data root, with a cache of its own; skips without one."""
    named = os.environ.get("BENCHBENCH_DATA")
    root = Path(named) if named else Path(__file__).parents[4] / "shared" / "data"
    if not root.is_dir():
        pytest.skip("no real data: BENCHBENCH_DATA is not set and there is no ../shared/data")
    return DataSource(root=root, cache=tmp_path / "cache")


@pytest.fixture
def snapshot() -> Callable[[Path], Snapshot]:
    """Names, sizes and times of everything below a folder, to see whether anything was written."""

    def take(folder: Path) -> Snapshot:
        return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in [folder, *sorted(folder.rglob("*"))]}

    return take
