"""Whether tensors have changed: free version counters, and digests that see every write.

PyTorch counts the writes to a tensor and its views, but not those through ``.data`` or a NumPy array of the same memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # planning starts without torch
    from torch import Tensor

_CHUNK = 2**22  # bytes digested at once on a device; this takes eight times the memory
_MULTIPLIER, _NEXT_CHUNK = 2654435761, 1000003


def version_of(tensor: Tensor) -> tuple[int, int]:
    """Return a value that changes with each write and with new memory; never synchronises."""
    count = 0 if tensor.is_inference() else tensor._version
    return count, tensor.data_ptr()


def fingerprint(tensors: Iterable[Tensor]) -> int | Tensor:
    """Digest tensors on one device without synchronising: CRC-32 on a CPU, else an int64 scalar."""
    total: int | Tensor = 0
    for values in (piece for tensor in tensors for piece in _pieces(tensor)):
        if values.device.type == "cpu":
            total = zlib.crc32(values.numpy().data, int(total))
        else:
            total = total * _NEXT_CHUNK + weighted_sum(values)
    return total


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    """Yield the bytes, uint8 (n,), of a few rows at a time: a large view is not copied whole."""
    import torch

    whole = tensor.detach()
    if whole.dim() == 0:
        whole = whole[None]
    row_bytes = whole[:1].numel() * whole.element_size()
    for rows in torch.split(whole, max(1, _CHUNK // max(1, row_bytes))):
        yield rows.contiguous().reshape(-1).view(torch.uint8)


def weighted_sum(values: Tensor) -> Tensor:
    """Sum uint8 values (N,) times pseudo-random odd weights: an int64 scalar, modulo 2**64."""
    import torch

    total = torch.zeros((), dtype=torch.int64, device=values.device)
    for chunk in torch.split(values, _CHUNK):
        weights = torch.arange(1, len(chunk) + 1, device=values.device) * _MULTIPLIER | 1
        total = total * _NEXT_CHUNK + (chunk.long() * weights).sum()
    return total
