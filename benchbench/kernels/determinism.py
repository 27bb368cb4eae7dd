"""Equal numbers from equal runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Run a block in full float32 with deterministic kernels on CUDA, so that rows repeat."""
    if device.type != "cuda":
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic = False, False, True
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic = before


def own_draws(device: torch.device) -> AbstractContextManager[None]:
    """Within the block, draws are from copies of torch's global generators, which it may seed."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


@contextmanager
def on_threads(count: int | None) -> Iterator[None]:
    """Run a block on `count` threads, on which the rounding of sums depends; None: as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
