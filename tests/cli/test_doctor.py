"""``benchbench doctor`` examines this installation."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.conftest import Command


def test_doctor_examines_packages_device_and_folders(command: Command) -> None:
    answer = command("doctor", "--json")
    checks = {check["check"]: check for check in answer.document}
    assert {
        "packages",
        "namesake",
        "torch and torchvision",
        "device",
        "data root",
        "runs",
        "leaderboards",
        "plugins",
    } <= checks.keys()
    assert "torch" in checks["packages"]["detail"]
    assert checks["runs"]["ok"]


def test_doctor_names_missing_extras_with_their_command(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import benchbench.cli.doctor

    monkeypatch.setattr(benchbench.cli.doctor, "_is_installed", lambda name: name not in ("altair", "numba"))
    said = dict(line.split(maxsplit=1) for line in command("doctor").out.splitlines())["extras"]
    assert "report (altair): pip install 'benchbench-robustness[report]'" in said
    assert "separation (numba): pip install" in said
    assert "timm" not in said


def test_doctor_finds_a_folder_that_cannot_be(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = command("doctor", "--runs", tmp_path / "file" / "runs")
    assert answer.status == 1
    assert "a file, not a folder" in answer.out
