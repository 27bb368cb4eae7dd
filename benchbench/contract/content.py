"""The digest of a dataset's content: what rows call ``dataset_digest``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchbench.contract.data import DatasetSplits

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK_BYTES = 1 << 24


def data_digest(splits: DatasetSplits) -> str:
    """Hexadecimal SHA-256 of dtype, shape and bytes of all four tensors, and of the names of the classes."""
    state = hashlib.sha256(json.dumps(list(splits.classes)).encode())
    for examples in (splits.train, splits.test):
        _digest_tensor(state, examples.inputs)
        _digest_tensor(state, examples.labels)
    return state.hexdigest()


def row_blocks(tensor: Tensor) -> Iterator[Tensor]:
    """Consecutive rows of a tensor (N, ...), at most 16 MiB and at least one row at a time.

    A tensor that is mapped from a file is then never in memory as a whole.
    """
    rows = len(tensor)
    row_bytes = tensor.element_size() * max(1, tensor[:1].numel())
    step = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, rows, step):
        yield tensor[start : start + step]


def _digest_tensor(state: hashlib._Hash, tensor: Tensor) -> None:
    state.update(f"\n{tensor.dtype} {tuple(tensor.shape)}\n".encode())
    for block in row_blocks(tensor):
        state.update(block.contiguous().numpy().tobytes())
