"""``benchbench plugins``: what is installed is listed and examined, and a new plugin written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli.conftest import Command

from benchbench.cli import invoke
from benchbench.version import DISTRIBUTION


def test_command_prints_the_folder_and_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["plugins", "new", "attack", "sly", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == str(tmp_path / "benchbench-sly")
    assert f"pip install -e '{tmp_path / 'benchbench-sly'}[test]'" in printed.err
    assert "benchbench run --suite" in printed.err


def test_command_that_is_printed_for_a_folder_here_is_no_name_on_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["plugins", "new", "attack", "sly"]) == 0
    assert "pip install -e './benchbench-sly[test]'" in capsys.readouterr().err


def test_command_refuses_a_name_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["plugins", "new", "attack", "pgd", "--out", str(tmp_path)]) == 2
    assert "'pgd' exists already, in benchbench" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_plugins_are_listed_and_examined(command: Command) -> None:
    listed = command("plugins", "list", "--json")
    assert listed.document[0]["distribution"] == DISTRIBUTION
    assert "trades" in listed.document[0]["offers"]["defense"]
    assert "builtin" in command("plugins", "list").out
    answer = command("plugins", "doctor")
    problems = command("plugins", "doctor", "--json").document
    assert answer.status == (1 if problems else 0)


def test_broken_plugin_is_explained_and_the_rest_works(tmp_path: Path) -> None:
    package = tmp_path / "packages" / "broken-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[benchbench]\nbroken = broken_plugin\n")
    (package.parent / "broken_plugin.py").write_text("raise RuntimeError('no [red]luck[/red]')")
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "benchbench", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)

    doctor = run("plugins", "doctor")
    assert doctor.returncode == 1
    assert "no [red]luck[/red]" in doctor.stdout
    listed = run("list", "defense")
    assert listed.returncode == 0
    assert "trades" in listed.stdout
    assert "benchbench plugins doctor" in listed.stderr
