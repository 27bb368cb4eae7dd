"""Shards of an evaluation, which several processes compute: each shard by one of them, every outcome the same whoever it was.

Shards have fixed boundaries, whole batches from the first example on, so that the number of processes changes no batch. The
processes run the same evaluation and keep what they compute in one cache; before anything is joined, `Memory.gather` has
each of them compute the shards that nobody else is at.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from benchbench.evaluation.subject import Split

ShardResult = dict[str, Tensor]
EXAMPLES_PER_SHARD = 1024  # what an interruption can lose


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A part of an evaluation that can be computed by itself.

    Attributes:
        key: its name in the cache.
        compute: computes it.
    """

    key: str
    compute: Callable[[], ShardResult]


class Sharing(Protocol):
    """How processes that share the cache of an evaluation keep out of each other's way."""

    def claim(self, key: str) -> AbstractContextManager[bool]:
        """Hold a shard for a while; False while another process does."""
        ...

    def wait(self) -> None:
        """Let some time pass until another process may have finished a shard."""
        ...


def shard_positions(split: Split, batch_size: int) -> list[Tensor]:
    """Positions of the examples of each shard: whole batches, so that two sittings see the same batches as one."""
    return list(split.batches(max(EXAMPLES_PER_SHARD // batch_size, 1) * batch_size))
