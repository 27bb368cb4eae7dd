"""What of this machine a run may use: cores and memory, also where a container allows less than the machine has."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

PROCESS_BYTES = 2**30  # of Python, torch and, on a GPU, its context, before any model is there
CGROUPS = Path("/sys/fs/cgroup")
_MEMORY = Path("/proc/meminfo")
_UNLIMITED_BYTES = 2**60  # the first version of control groups writes a number near 2**63 for no limit


def available_cores(groups: Path = CGROUPS) -> int:
    """Cores that this process may use, at least one: its affinity, and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(groups)
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def cores_for_workers(environment: Mapping[str, str] = os.environ, groups: Path = CGROUPS) -> int:
    """Cores that a run may use of its own accord: no more than OMP_NUM_THREADS says, where somebody set it."""
    stated = environment.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    cores = available_cores(groups)
    return min(cores, int(stated)) if stated.isdecimal() and int(stated) else cores


def available_memory_bytes(memory: Path = _MEMORY, groups: Path = CGROUPS) -> int | None:
    """Memory that programs can still have without swapping, within the limit of the container; None where nobody says."""
    known = [found for found in (_free(memory), _limit(groups)) if found is not None]
    return min(known) if known else None


def _quota(groups: Path) -> float | None:
    """Processors that a container may use at once, by the second or the first version of control groups."""
    with suppress(OSError, ValueError):
        quota, period = (groups / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota, period = (
            (groups / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period")
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
