"""What this environment lacks for a component is said with the command that installs it."""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from benchbench.api import plan


def test_without_the_convex_solver_the_cells_are_skipped_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def find_spec(name: str) -> ModuleSpec | None:
        return None if name == "cvxpy" else sys.modules["torch"].__spec__

    suitability = importlib.import_module("benchbench.registry.suitability")
    monkeypatch.setattr(suitability, "find_spec", find_spec)
    made = plan("closer-look", profile="quick", only=["experiment=staircase-small"], runs=tmp_path, device="cpu")
    assert {(cell.status, cell.reason) for cell in made.cells} == {
        ("skipped", "architecture 'cubic-spline' needs cvxpy; pip install 'benchbench-robustness[staircase]'")
    }
