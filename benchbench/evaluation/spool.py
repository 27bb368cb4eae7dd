"""The adversarial images of a test set, kept on the disk until they are read."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LARGEST_IN_MEMORY = 4 * 2**20  # bytes; less is not worth a file


class Spool:
    """A float32 tensor of a shape (N, ...) that is written front to back, part by part.

    More than `in_memory` bytes are kept in a temporary file without a name, which the system deletes with the tensor (also if
    the process is killed); its pages enter memory only when they are read. If the disk is full, the tensor stays in memory. As
    a context manager it closes the file; the joined tensor stays valid.
    """

    def __init__(self, shape: Sequence[int], *, in_memory: int = LARGEST_IN_MEMORY) -> None:
        self._shape = tuple(shape)
        self._parts: list[Tensor] = []
        self._file = tempfile.TemporaryFile() if 4 * math.prod(shape) > in_memory else None  # noqa: SIM115 - until joined

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, part: Tensor) -> None:
        """Append the next rows: float32 (n, ...) on the CPU."""
        if self._file is None:
            self._parts.append(part)
            return
        begun = self._file.tell()
        try:
            self._file.write(part.contiguous().numpy().data)
            self._file.flush()
        except OSError:  # no space left
            self._parts = [*self._read(begun), part]
            self._file = None

    def joined(self) -> Tensor:
        """The whole tensor, after all rows were added; writing to it leaves the file unchanged.

        If rows are missing, or too many, this is a ValueError.
        """
        if self._file is None:
            return torch.cat(self._parts).reshape(self._shape)
        if self._file.tell() != 4 * math.prod(self._shape):
            raise ValueError(f"{self._file.tell()} bytes were added for a float32 tensor of shape {self._shape}")
        # Copy on write: the mapping outlives the file's name and its closing.
        return torch.from_numpy(np.memmap(self._file, dtype=np.float32, mode="c", shape=self._shape))

    def _read(self, size: int) -> list[Tensor]:
        if self._file is None:
            return []
        with self._file as file:
            file.seek(0)
            rows = np.frombuffer(bytearray(file.read(size)), dtype=np.float32).copy()
        return [torch.from_numpy(rows.reshape(-1, *self._shape[1:]))]
