"""The cores and the memory that a run may use, within the limits of a container."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

PROCESS_BYTES = 2**30  # Python, torch and, on a GPU, its context, without any model
CGROUPS = Path("/sys/fs/cgroup")
_MEMORY = Path("/proc/meminfo")
_UNLIMITED_BYTES = 2**60  # version 1 of control groups writes a number near 2**63 for no limit


def available_cores(groups: Path = CGROUPS) -> int:
    """Number of cores of this process, by its affinity and its container's quota; at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(groups)
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def cores_for_workers(environment: Mapping[str, str] = os.environ, groups: Path = CGROUPS) -> int:
    """Default number of cores of a run: those available, capped by OMP_NUM_THREADS."""
    stated = environment.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    cores = available_cores(groups)
    return min(cores, int(stated)) if stated.isdecimal() and int(stated) else cores


def available_memory_bytes(memory: Path = _MEMORY, groups: Path = CGROUPS) -> int | None:
    """Free memory without swapping, within the container's limit; None if unknown."""
    known = [found for found in (_free(memory), _limit(groups)) if found is not None]
    return min(known) if known else None


def _quota(groups: Path) -> float | None:
    # version 2, then version 1 of control groups
    with suppress(OSError, ValueError):
        quota, period = (groups / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota, period = (
            (groups / f"cpu/cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period")
        )
        return None if int(quota) <= 0 else int(quota) / int(period)
    return None


def _limit(groups: Path) -> int | None:
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limit = int((groups / name).read_text(encoding="ascii"))
            return limit if limit < _UNLIMITED_BYTES else None
    return None


def _free(memory: Path) -> int | None:
    with suppress(OSError, StopIteration, ValueError, IndexError):
        lines = memory.read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None
