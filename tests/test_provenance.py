"""What a row tells of where it comes from."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import torch

from benchbench import provenance


def test_versions_are_those_installed() -> None:
    versions = provenance.versions()
    assert versions["torch"] == metadata.version("torch")
    assert versions["benchbench"] == metadata.version("benchbench")
    assert {"python", "numpy", "pyarrow"} <= versions.keys()


def test_absent_package_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "TRACKED", ("torch", "no-such-package"))
    assert provenance.versions.__wrapped__().keys() == {"python", "torch"}


def test_commit_is_that_of_the_checkout() -> None:
    folder = Path(provenance.__file__).resolve().parents[1]
    if not (folder / ".git").exists():
        assert provenance.git_commit() is None
        return
    head = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert len((provenance.git_commit.__wrapped__() or "").removesuffix("-dirty")) == len(head.stdout.strip())


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(provenance.subprocess, "run", absent)
    assert provenance.git_commit.__wrapped__() is None


def test_cpu_is_described_with_its_threads() -> None:
    described = provenance.describe_device(torch.device("cpu"))
    assert described.startswith("cpu (")
    assert described.endswith(f"{torch.get_num_threads()} threads)")


def test_peak_memory_is_in_bytes() -> None:
    assert 50e6 < provenance.peak_memory_bytes(torch.device("cpu")) < 1e12
