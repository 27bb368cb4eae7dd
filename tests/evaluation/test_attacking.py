"""Tensors that are written part by part, in memory or in a file."""

from __future__ import annotations

import errno
import pickle
import tempfile

import pytest
import torch
from torch import Tensor

from benchbench.evaluation.attacking import Spool

WHOLE = torch.arange(60, dtype=torch.float32).reshape(10, 2, 3)


def filled(in_memory: int) -> Tensor:
    with Spool(WHOLE.shape, in_memory=in_memory) as spool:
        for part in WHOLE.split(4):
            spool.add(part)
        return spool.joined()


@pytest.mark.parametrize("in_memory", [0, 10**6])
def test_parts_are_joined_in_order(in_memory: int) -> None:
    joined = filled(in_memory)
    assert torch.equal(joined, WHOLE)
    assert joined.is_contiguous()
    assert torch.equal(pickle.loads(pickle.dumps(joined)), WHOLE)


def test_parts_in_another_memory_layout_keep_their_values() -> None:
    images = torch.arange(48, dtype=torch.float32).reshape(2, 3, 2, 4)
    with Spool(images.shape, in_memory=0) as spool:
        spool.add(images.to(memory_format=torch.channels_last))
        assert torch.equal(spool.joined(), images)


def test_an_empty_tensor_needs_no_file() -> None:
    with Spool((0, 2, 3), in_memory=0) as spool:
        spool.add(WHOLE[:0])
        assert spool.joined().shape == (0, 2, 3)


def test_what_is_changed_later_changes_nobody_elses_copy() -> None:
    joined = filled(0)
    joined[0] = -1.0
    assert float(joined[0, 0, 0]) == -1.0
    assert torch.equal(joined[1:], WHOLE[1:])


@pytest.mark.parametrize("begun", [0, 1, 2])
def test_a_full_disk_leaves_the_tensor_in_memory(begun: int, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = tempfile.TemporaryFile

    class Small:
        """A file that takes so many parts, and half of the next."""

        def __init__(self) -> None:
            self.file, self.left = genuine(), begun
            self.tell, self.seek, self.read = self.file.tell, self.file.seek, self.file.read
            self.flush, self.close = self.file.flush, self.file.close

        def write(self, content: memoryview) -> int:
            self.left -= 1
            if self.left < 0:
                self.file.write(bytes(content)[: content.nbytes // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(content)

        def __enter__(self) -> Small:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

    monkeypatch.setattr(tempfile, "TemporaryFile", Small)
    assert torch.equal(filled(0), WHOLE)


def test_missing_rows_are_noticed() -> None:
    with Spool(WHOLE.shape, in_memory=0) as spool:
        spool.add(WHOLE[:3])
        with pytest.raises(ValueError, match="72 bytes"):
            spool.joined()
