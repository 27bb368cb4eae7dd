"""Slots: each worker's share of the cores, within a container's limits, and its GPU."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchbench.contract import UsageError

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


GIB = 2**30
USABLE = 0.95  # of a GPU's free memory; the rest is a reserve
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU, named as in CUDA_VISIBLE_DEVICES, with its free memory."""

    name: str
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Slot:
    """The threads of one worker, and its CUDA_VISIBLE_DEVICES; None leaves that unchanged."""

    threads: int
    gpu: str | None = None

    def environment(self, inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
        """This process's environment, with the thread counts and the GPU of the slot."""
        threads = dict.fromkeys(_THREAD_VARIABLES, str(self.threads))
        return {**inherited, **threads, **({} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": self.gpu})}


def cpu_slots(workers: int, *, threads: int | None, cores: int) -> tuple[Slot, ...]:
    """Divide the cores equally among workers, unless `threads` is given."""
    return (Slot(threads=threads or max(1, cores // workers)),) * workers


def gpu_slots(
    workers: int | None, *, gpus: Sequence[Gpu], need_bytes: int | None, threads: int | None, cores: int
) -> tuple[Slot, ...]:
    """Give each worker a GPU, shared where `need_bytes` of several fit; UsageError if too few."""
    room = [places(gpu, need_bytes) for gpu in gpus]
    wanted = len(gpus) if workers is None else workers
    if wanted > sum(room) or not gpus:
        raise UsageError(f"{wanted} workers need as many slots, {_describe(gpus, room)}", hint=_hint(need_bytes))
    each = threads or max(1, cores // wanted)
    rounds = (gpu for turn in range(max(room)) for gpu, number in zip(gpus, room) if turn < number)
    return tuple(Slot(threads=each, gpu=gpu.name) for _, gpu in zip(range(wanted), rounds))


def visible_gpus(environment: Mapping[str, str] = os.environ) -> tuple[Gpu, ...]:
    """The CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    stated = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    names = stated[:count] if stated else [str(index) for index in range(count)]
    return tuple(Gpu(name=name, memory_bytes=int(torch.cuda.mem_get_info(i)[0])) for i, name in enumerate(names))


def places(gpu: Gpu, need_bytes: int | None) -> int:
    """The number of workers with this need that fit on a GPU."""
    return 1 if need_bytes is None else int(USABLE * gpu.memory_bytes / need_bytes)


def _describe(gpus: Sequence[Gpu], room: Sequence[int]) -> str:
    if not gpus:
        return "and there is no GPU"
    listed = ", ".join(f"{number} on {gpu.name} ({gpu.memory_bytes / GIB:.0f} GiB)" for gpu, number in zip(gpus, room))
    return f"there are {sum(room)}: {listed}"


def _hint(need_bytes: int | None) -> str:
    if need_bytes is None:
        return "for several workers on a GPU state what one needs: --executor '{name = \"local\", gpu_memory_gb = 4.0}'"
    return f"fewer workers, or less memory than {need_bytes / GIB:.1f} GiB each"
