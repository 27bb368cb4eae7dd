"""``benchbench plugins``: what is installed is listed and examined, and a new plugin written."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchbench.cli import invoke


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
