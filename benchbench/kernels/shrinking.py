"""Retrying with smaller batches when the device runs out of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


def within_memory(size: int, report: Callable[[str], None] = lambda _: None) -> Iterator[AbstractContextManager[int]]:
    """Yield blocks that compute in batches of a size, until the memory suffices for one of them.

    The first block gets `size`; after each out-of-memory error the next one gets half of it, and `report` a message. What a
    block computes must not depend on the size. The error is raised if the memory does not suffice for one example.

    >>> for attempt in within_memory(64):
    ...     with attempt as size:
    ...         print(size)
    64
    """
    short = True

    @contextmanager
    def attempt() -> Iterator[int]:
        nonlocal short
        short = False
        try:
            yield size
        except torch.OutOfMemoryError:
            if size <= 1:
                raise
            short = True

    while short:
        yield attempt()
        if short:  # outside the handler, whose traceback keeps the full memory alive
            size //= 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            report(f"out of memory: trying again with {size} examples at once")
