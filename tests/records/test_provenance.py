"""What a row tells of where it comes from."""

from __future__ import annotations

import mmap
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import torch

from benchbench.records import provenance
from benchbench.version import __version__


def test_versions_are_those_installed() -> None:
    versions = provenance.versions()
    assert versions["torch"] == metadata.version("torch")
    assert versions["benchbench"] == __version__
    assert {"python", "numpy", "pyarrow"} <= versions.keys()


def test_absent_package_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "TRACKED", ("torch", "no-such-package"))
    assert provenance.versions.__wrapped__().keys() == {"python", "benchbench", "torch"}


def test_commit_is_that_of_the_checkout() -> None:
    folder = Path(__file__).resolve().parents[2]  # not by the place of the module, which once was wrong
    if not (folder / ".git").exists():
        assert provenance.git_commit() is None
        return
    head = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert len((provenance.git_commit.__wrapped__() or "").removesuffix("-dirty")) == len(head.stdout.strip())


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(provenance.subprocess, "run", absent)
    monkeypatch.delenv("BENCHBENCH_COMMIT", raising=False)
    assert provenance.git_commit.__wrapped__() is None


def test_cpu_is_described_with_its_threads() -> None:
    described = provenance.describe_device(torch.device("cpu"))
    assert described.startswith("cpu (")
    assert described.endswith(f"{torch.get_num_threads()} threads)")


def test_peak_memory_is_in_bytes() -> None:
    assert 50e6 < provenance.peak_memory_bytes(torch.device("cpu")) < 1e12


@pytest.mark.parametrize("stated", ["0" * 40, "12ab" * 10 + "-dirty"])
def test_a_tree_that_was_copied_without_git_has_the_commit_that_its_caller_states(
    stated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "_git_describe", lambda: None)
    monkeypatch.setenv("BENCHBENCH_COMMIT", stated)
    assert provenance.git_commit.__wrapped__() == stated


@pytest.mark.parametrize("stated", ["main", "0" * 39, "0" * 40 + "-clean", "$(git describe)"])
def test_a_stated_commit_that_is_none_is_left_out_and_said_so(
    stated: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(provenance, "_git_describe", lambda: None)
    monkeypatch.setenv("BENCHBENCH_COMMIT", stated)
    assert provenance.git_commit.__wrapped__() is None
    assert stated in caplog.text


def test_what_git_says_counts_before_what_a_caller_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_git_describe", lambda: "a" * 40 + "-dirty")
    monkeypatch.setenv("BENCHBENCH_COMMIT", "b" * 40)
    assert provenance.git_commit.__wrapped__() == "a" * 40 + "-dirty"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's account of memory")
def test_the_peak_is_that_since_it_was_forgotten() -> None:
    cpu = torch.device("cpu")
    provenance.forget_peak_memory(cpu)
    before = provenance.peak_memory_bytes(cpu)
    with mmap.mmap(-1, 50 * 2**20) as fresh:  # an allocator may have as much at hand already
        fresh.write(b"1" * len(fresh))
    assert provenance.peak_memory_bytes(cpu) - before > 40 * 2**20
    provenance.forget_peak_memory(cpu)
    assert provenance.peak_memory_bytes(cpu) - before < 20 * 2**20


def test_where_nothing_accounts_for_memory_by_the_moment_the_peak_is_that_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr(Path, "write_text", absent)
    provenance.forget_peak_memory(torch.device("cpu"))
    assert 50e6 < provenance.peak_memory_bytes(torch.device("cpu")) < 1e12


@pytest.mark.parametrize(
    ("device", "threads"),
    [
        ("cpu (AMD EPYC, 2 threads)", 2),
        ("cpu (Xeon (R), 16 threads) x 2 ranks", 16),
        ("cuda (NVIDIA H200)", None),
        ("", None),
    ],
)
def test_threads_of_a_row_are_read_from_its_device(device: str, threads: int | None) -> None:
    assert provenance.stated_threads(device) == threads
    here = provenance.describe_device(torch.device("cpu"))
    assert provenance.stated_threads(here) == torch.get_num_threads()
