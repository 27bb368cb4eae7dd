"""Slots: the share of the cores, and the GPU, that each worker on a machine may use."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchbench.contract import UsageError

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
    """Give each worker one GPU: by default one worker on each; UsageError if there are too few.

    With `need_bytes`, the memory of one worker, several share a GPU that has room for them.
    """
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
