"""Where a number comes from: versions, commit, device, memory."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import platform
import re
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch

from benchbench.version import __version__

TRACKED = ("torch", "torchvision", "timm", "foolbox", "numpy", "scipy", "scikit-learn", "pyarrow", "pluggy")


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that can change a number."""
    found = {"python": platform.python_version(), "benchbench": __version__}
    for name in TRACKED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


COMMIT = "BENCHBENCH_COMMIT"  # environment variable: the commit of a tree that was copied without its .git
_COMMIT = re.compile(r"[0-9a-f]{40}(-dirty)?")
_log = logging.getLogger(__name__)


@functools.cache
def git_commit() -> str | None:
    """The commit of this checkout, ``-dirty`` if it has local changes; None when installed.

    If git has none, as in a copy on another machine, that of the environment variable ``BENCHBENCH_COMMIT``, in the same form.
    """
    found = _git_describe()
    if found is not None:
        return found
    stated = os.environ.get(COMMIT, "")
    if stated and not _COMMIT.fullmatch(stated):
        _log.warning("%s is %r, expected 40 hexadecimal digits, and -dirty for local changes: left out", COMMIT, stated)
    return stated if _COMMIT.fullmatch(stated) else None


def _git_describe() -> str | None:
    """The commit that git describes, of the checkout that holds this file; None without one."""
    folder = Path(__file__).resolve().parents[1]
    if not (folder.parent / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return finished.stdout.strip() or None


def describe_device(device: torch.device) -> str:
    """The device of a row: ``cuda (NVIDIA H200)`` or ``cpu (AMD EPYC, 2 threads)``."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({_processor()}, {torch.get_num_threads()} threads)"
    return str(device)


def stated_threads(device: str) -> int | None:
    """The number of threads in a `describe_device` text of a CPU; None if it has none.

    >>> stated_threads("cpu (AMD EPYC, 2 threads) x 4 ranks")
    2
    """
    found = re.match(r"cpu \(.*, (\d+) threads\)", device)
    return int(found[1]) or None if found else None


def forget_peak_memory(device: torch.device) -> None:
    """Reset the peak of `peak_memory_bytes`, which works on CUDA and on Linux only."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory since the last reset: of the device on CUDA, of the process otherwise."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


@functools.cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
