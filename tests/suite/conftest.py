"""What tests of suites share."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from extended_suites import Read, read_files

from benchbench.registry import Registry, load_registry


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


@pytest.fixture
def read(registry: Registry, tmp_path: Path) -> Read:
    """Reads a suite that extends `BASE`, or other files by name."""
    return partial(read_files, registry, tmp_path)
