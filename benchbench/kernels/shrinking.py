"""Retrying with smaller batches when the device runs out of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def compute_within_memory(
    compute: Callable[[int], Result], size: int, report: Callable[[str], None] = lambda _: None
) -> tuple[Result, int]:
    """Compute in batches of `size`; after each out-of-memory error, halve the size and retry.

    Return the result, which must not depend on the size, and the last size. `report` receives a message about each retry. The
    error is raised if the memory does not suffice for one example.
    """
    while True:
        try:
            return compute(size), size
        except torch.OutOfMemoryError:
            if size <= 1:
                raise
        size //= 2  # outside the handler, whose traceback keeps the full memory alive
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        report(f"out of memory: trying again with {size} examples at once")
