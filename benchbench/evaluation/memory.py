"""Parts of an evaluation: kept in a cache, and divided among processes that share it.

A part may be a shard: whole batches of consecutive examples, whose boundaries do not depend on the number of processes. The
processes run the same evaluation on one cache; each shard is computed by the process that claims it and read by the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

ATTACKED = "attacked"  # entry of a part: whether it depends on the attack, or on the model alone
ShardResult = dict[str, Tensor]


class MeasurementCache(Protocol):
    """Keeps the parts of one evaluation, so that an interrupted one can be continued."""

    def get(self, key: str) -> ShardResult | None:
        """The part under a key such as ``"attack/test/00001024"``, or None."""
        ...

    def put(self, key: str, value: ShardResult) -> None:
        """Keep CPU tensors by name; atomically if the cache outlives the process."""
        ...


class Sharing(Protocol):
    """How processes that share a cache avoid computing the same shard."""

    def claim(self, key: str) -> AbstractContextManager[bool]:
        """Hold a shard within a block; False if another process holds it."""
        ...

    def wait(self) -> None:
        """Wait a little, until another process may have finished a shard."""
        ...


def by_shard(
    prefix: str, shards: Iterable[Tensor], compute: Callable[[Tensor], ShardResult]
) -> dict[str, Callable[[], ShardResult]]:
    """For each shard, given by its positions: the key of its part, and what computes it."""
    return {f"{prefix}/{int(positions[0]):08d}": partial(compute, positions) for positions in shards}


class Memory:
    """Computes each part once, in this process or an earlier one.

    The cache keeps parts beyond this process; None for nowhere. `sharing` is with other processes that use this cache.
    """

    def __init__(self, cache: MeasurementCache | None, sharing: Sharing | None = None) -> None:
        self.seconds = 0.0  # that the recalled parts took to compute, in all processes
        self._attacked = False  # whether the part being computed depends on the attack
        self._cache = cache
        self._sharing = sharing
        self._known: dict[str, ShardResult] = {}

    def recall(self, key: str, compute: Callable[[], ShardResult]) -> ShardResult:
        """The part of a key, computed only if it is not known."""
        if key not in self._known:
            part = self._cache.get(key) if self._cache is not None else None
            if part is None:
                began, counted, outer = time.perf_counter(), self.seconds, self._attacked
                self._attacked = False
                part = compute()
                own = time.perf_counter() - began - (self.seconds - counted)  # nested parts count their own time
                seconds = torch.tensor(max(own, 0.0), dtype=torch.float64)
                part = {**part, "seconds": seconds, ATTACKED: torch.tensor(self._attacked)}
                self._attacked = outer
                if self._cache is not None:
                    self._cache.put(key, part)
            self.seconds += float(part["seconds"])
            self._known[key] = part
        self._attacked |= bool(self._known[key][ATTACKED])
        return self._known[key]

    def gather(self, parts: Mapping[str, Callable[[], ShardResult]]) -> Iterator[ShardResult]:
        """Yield parts in order; other processes that share the cache may compute some of them.

        They may be large and are needed once, so that only the cache keeps them.
        """
        cache, sharing, left = self._cache, self._sharing, list(parts)
        while left and cache is not None and sharing is not None:
            missing = []
            for key in (key for key in left if cache.get(key) is None):
                with sharing.claim(key) as mine:
                    if mine:  # `recall` looks into the cache again: the part may have come before the claim
                        self.recall(key, parts[key])
                        self.seconds -= float(self._known.pop(key)["seconds"])  # recalled and counted again below
                    else:
                        missing.append(key)
            if len(missing) == len(left):
                sharing.wait()
            left = missing
        for key, compute in parts.items():
            yield self.recall(key, compute)
            del self._known[key]

    def mark_attacked(self) -> None:
        """Note that the part being computed depends on the attack."""
        self._attacked = True
