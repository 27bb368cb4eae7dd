"""Whether tensors are what they were: version counters, which cost nothing, and digests, which also see writes behind them.

PyTorch counts the writes to a tensor and its views, but not those through ``.data`` or a NumPy array of the same memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # planning starts without torch
    from torch import Tensor

_CHUNK = 2**22  # bytes digested at once on a device; eight times as many are taken for a moment
_MULTIPLIER, _NEXT_CHUNK = 2654435761, 1000003


def version_of(tensor: Tensor) -> tuple[int, int]:
    """What changes when somebody writes to a tensor or puts other memory under it; read without synchronisation."""
    count = 0 if tensor.is_inference() else tensor._version
    return count, tensor.data_ptr()


def fingerprint(tensors: Iterable[Tensor]) -> int | Tensor:
    """A digest of the content of tensors on one device: CRC-32 on the CPU, elsewhere an int64 scalar that nobody waits for."""

    total: int | Tensor = 0
    for values in (piece for tensor in tensors for piece in _pieces(tensor)):
        if values.device.type == "cpu":
            total = zlib.crc32(values.numpy().data, int(total))
        else:
            total = total * _NEXT_CHUNK + weighted_sum(values)
    return total


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    """The bytes of some rows after others, uint8 (n,), so that a large view is never copied whole."""
    import torch

    whole = tensor.detach()
    if whole.dim() == 0:
        whole = whole[None]
    row_bytes = whole[:1].numel() * whole.element_size()
    for rows in torch.split(whole, max(1, _CHUNK // max(1, row_bytes))):
        yield rows.contiguous().reshape(-1).view(torch.uint8)


def weighted_sum(values: Tensor) -> Tensor:
    """The bytes times pseudo-random odd weights, summed modulo 2**64: int64, a scalar on the same device.

    Args:
        values: uint8 (N,).
    """
    import torch

    total = torch.zeros((), dtype=torch.int64, device=values.device)
    for chunk in torch.split(values, _CHUNK):
        weights = torch.arange(1, len(chunk) + 1, device=values.device) * _MULTIPLIER | 1
        total = total * _NEXT_CHUNK + (chunk.long() * weights).sum()
    return total
