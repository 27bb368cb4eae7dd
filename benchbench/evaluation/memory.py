"""Finished parts of an evaluation, kept where an interruption cannot lose them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch

from benchbench.evaluation.shards import Shard, ShardResult, Sharing

ATTACKED = "attacked"  # entry of a part: whether it depends on the attack, or on the model alone


class MeasurementCache(Protocol):
    """Where the parts of one evaluation are kept, so that an interrupted one goes on."""

    def get(self, key: str) -> ShardResult | None:
        """What was put under a key such as ``"attack/test/00001024"``, or None."""
        ...

    def put(self, key: str, value: ShardResult) -> None:
        """Keep CPU tensors by name; atomically, where it outlives the process."""
        ...


class Memory:
    """Computes each part once, in this sitting or an earlier one.

    Args:
        cache: where parts are kept beyond this sitting; None for nowhere.
        sharing: with other processes that use this cache; None for this process alone.
    """

    def __init__(self, cache: MeasurementCache | None, sharing: Sharing | None = None) -> None:
        self.seconds = 0.0  # that the parts asked for took to compute, over all sittings
        self._attacked = False  # whether what is being computed has asked for what the attack did
        self._cache = cache
        self._sharing = sharing
        self._known: dict[str, ShardResult] = {}

    def recall(self, key: str, compute: Callable[[], ShardResult]) -> ShardResult:
        """The part of a key, computed only if it is not known."""
        if key not in self._known:
            part = self._cache.get(key) if self._cache is not None else None
            if part is None:
                part = self._time(compute)
                if self._cache is not None:
                    self._cache.put(key, part)
            self.seconds += float(part["seconds"])
            self._known[key] = part
        self._attacked |= bool(self._known[key][ATTACKED])
        return self._known[key]

    def gather(self, shards: Sequence[Shard]) -> Iterator[ShardResult]:
        """The parts of some shards in turn, some of them computed by other processes where there are any.

        They may be large and are asked for once: here each is forgotten, the cache keeps it.
        """
        if self._cache is not None and self._sharing is not None:
            self._divide(shards, self._cache, self._sharing)
        for shard in shards:
            yield self.recall(shard.key, shard.compute)
            del self._known[shard.key]

    def _divide(self, shards: Sequence[Shard], cache: MeasurementCache, sharing: Sharing) -> None:
        """Compute the shards that nobody else computes, until all of them are in the cache."""

        def is_there(shard: Shard) -> bool:
            if cache.get(shard.key) is None:
                with sharing.claim(shard.key) as mine:
                    if not mine:
                        return False
                    if cache.get(shard.key) is None:  # nor was it finished while the claim was taken
                        cache.put(shard.key, self._time(shard.compute))
            return True

        left = [*shards]
        while left:
            still = [shard for shard in left if not is_there(shard)]
            if len(still) == len(left):
                sharing.wait()
            left = still

    def ask_for_attack(self) -> None:
        """Note that what is being computed depends on the attack."""
        self._attacked = True

    def _time(self, compute: Callable[[], ShardResult]) -> ShardResult:
        """Compute a part; add how long it took, without the parts that it asked for itself, and what it depends on."""
        began, counted, outer = time.perf_counter(), self.seconds, self._attacked
        self._attacked = False
        part = compute()
        attacked, self._attacked = self._attacked, outer
        own = time.perf_counter() - began - (self.seconds - counted)
        return {**part, "seconds": torch.tensor(max(own, 0.0), dtype=torch.float64), ATTACKED: torch.tensor(attacked)}
