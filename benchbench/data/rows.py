"""Pass over a tensor some rows at a time, so that a memory-mapped one is never in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

_BLOCK_BYTES = 1 << 24


def row_blocks(tensor: Tensor) -> Iterator[Tensor]:
    """Consecutive rows of a tensor (N, ...), at most 16 MiB and at least one row at a time."""
    rows = len(tensor)
    row_bytes = tensor.element_size() * max(1, tensor[:1].numel())
    step = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, rows, step):
        yield tensor[start : start + step]
