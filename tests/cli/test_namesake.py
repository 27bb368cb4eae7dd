"""What is said where another project called benchbench, which has the same import folder, is installed beside this one."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
from cli.conftest import Command

from benchbench.cli.namesake import find_namesake
from benchbench.version import DISTRIBUTION


def install(folder: Path, version: str, entry_points: str = "") -> None:
    """Lay out the metadata of a distribution called benchbench."""
    info = folder / f"benchbench-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: benchbench\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entry_points)


def test_doctor_names_the_other_project(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "1.0.1")
    monkeypatch.syspath_prepend(tmp_path)
    answer = command("doctor", "--json")
    (found,) = [check for check in answer.document if check["check"] == "namesake"]
    assert answer.status == 1
    assert not found["ok"]
    assert "benchbench 1.0.1 is another project" in found["detail"]
    assert "pip uninstall benchbench" in found["detail"]


def test_installation_under_the_former_name_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "0.1.0", "[benchbench]\nbuiltin = benchbench.builtin\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_namesake() == (True, "benchbench 0.1.0 is this project under its former name")


@pytest.mark.parametrize("replaced", ["empty file", "no file"])
def test_command_whose_package_was_replaced_says_what_to_do(
    command: Command, monkeypatch: pytest.MonkeyPatch, replaced: str
) -> None:
    theirs = types.ModuleType("benchbench")
    theirs.__file__ = None if replaced == "no file" else "benchbench/__init__.py"
    monkeypatch.setitem(sys.modules, "benchbench", theirs)
    answer = command("list", "attack")
    assert answer.status == 2
    assert f"replaced or deleted files of {DISTRIBUTION}" in answer.err
    assert "pip uninstall benchbench" in answer.err
