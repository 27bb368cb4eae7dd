"""The pretend GPUs: which one is current, their memory, and their default generators."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import torch

GIB = 2**30
ROUNDED_TO = 512  # bytes: what torch's allocator on CUDA rounds blocks up to
NAME = "Pretend GPU"


class Gpu:
    """One pretend GPU.

    Attributes:
        total: bytes of memory; an allocation beyond it raises `torch.OutOfMemoryError`.
        taken: bytes that other processes are said to hold.
        allocated: bytes of live tensors.
        peak: the most that was allocated since it was last reset.
    """

    def __init__(self, index: int) -> None:
        self.device = torch.device("cuda", index)
        self.total = int(float(os.environ.get("BENCHBENCH_PRETEND_CUDA_GIB", "80")) * GIB)
        self.taken = self.allocated = self.peak = 0
        self.generator = torch.Generator(self.device).manual_seed(0)

    def free(self) -> int:
        """Bytes left."""
        return max(self.total - self.taken - self.allocated, 0)


class Block:
    """Memory of a GPU, held for as long as a tensor refers to it."""

    def __init__(self, gpu: Gpu, count: int) -> None:
        self.gpu, self.bytes = gpu, 0
        rounded = -(-count // ROUNDED_TO) * ROUNDED_TO
        if rounded > gpu.free():
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {rounded} bytes; {gpu.device} has {gpu.free()} of {gpu.total} left"
            )
        self.bytes = rounded
        gpu.allocated += rounded
        gpu.peak = max(gpu.peak, gpu.allocated)

    def __del__(self) -> None:
        self.gpu.allocated -= self.bytes


def _visible() -> int:
    """How many of the machine's GPUs this process may use, by CUDA_VISIBLE_DEVICES."""
    there = int(os.environ.get("BENCHBENCH_PRETEND_CUDA_GPUS", "1"))
    stated = os.environ.get("CUDA_VISIBLE_DEVICES")
    return there if stated is None else min(there, len([name for name in stated.split(",") if name.strip()]))


GPUS = tuple(Gpu(index) for index in range(_visible()))
_blocks: weakref.WeakValueDictionary[int, Block] = weakref.WeakValueDictionary()
_current = 0


def current() -> int:
    """The index of the current GPU."""
    return _current


def gpu_of(device: object = None) -> Gpu:
    """The GPU that a device, a string or an index names; None for the current one."""
    wanted = device if isinstance(device, (int, type(None))) else torch.device(device).index  # type: ignore[call-overload]
    index = _current if wanted is None else int(wanted)
    if not 0 <= index < len(GPUS):
        raise RuntimeError(f"CUDA error: invalid device ordinal {index}: there are {len(GPUS)} pretend GPUs")
    return GPUS[index]


def set_current(device: object) -> None:
    """Make a GPU the current one."""
    global _current
    _current = gpu_of(device).device.index


@contextmanager
def on(device: object) -> Iterator[None]:
    """Within the block, a GPU is the current one."""
    before = _current
    set_current(device)
    try:
        yield
    finally:
        set_current(before)


def block_of(inner: torch.Tensor, gpu: Gpu) -> Block | None:
    """The memory that a tensor lies in, allocated if it is new."""
    storage = inner.untyped_storage()
    address = storage.data_ptr()
    block = _blocks.get(address)
    if address and (block is None or block.gpu is not gpu):
        block = _blocks[address] = Block(gpu, storage.nbytes())
    return block
