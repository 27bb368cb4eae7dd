"""Finished parts of an evaluation, kept where an interruption cannot lose them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Part = dict[str, Tensor]


class MeasurementCache(Protocol):
    """Where the parts of one evaluation are kept, so that an interrupted one goes on."""

    def get(self, key: str) -> Part | None:
        """What was put under a key such as ``"attack/test/00001024"``, or None."""
        ...

    def put(self, key: str, value: Part) -> None:
        """Keep CPU tensors by name; atomically, where it outlives the process."""
        ...


class Memory:
    """Computes each part once, in this sitting or an earlier one.

    Args:
        cache: where parts are kept beyond this sitting; None for nowhere.
    """

    def __init__(self, cache: MeasurementCache | None) -> None:
        self.seconds = 0.0  # that the parts asked for took to compute, over all sittings
        self._cache = cache
        self._known: dict[str, Part] = {}

    def recall(self, key: str, compute: Callable[[], Part]) -> Part:
        """The part of a key, computed only if it is not known."""
        if key not in self._known:
            part = self._cache.get(key) if self._cache is not None else None
            if part is None:
                part = self._time(compute)
                if self._cache is not None:
                    self._cache.put(key, part)
            self.seconds += float(part["seconds"])
            self._known[key] = part
        return self._known[key]

    def _time(self, compute: Callable[[], Part]) -> Part:
        """Compute a part and say how long it took, without the parts that it asked for itself."""
        began, counted = time.perf_counter(), self.seconds
        part = compute()
        own = time.perf_counter() - began - (self.seconds - counted)
        return {**part, "seconds": torch.tensor(max(own, 0.0), dtype=torch.float64)}
