"""Going on with smaller batches when the device's memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def compute_within_memory(
    compute: Callable[[int], Result], size: int, tell: Callable[[str], None] = lambda _: None
) -> tuple[Result, int]:
    """Compute in batches of a size; after running out of the device's memory, again in batches of half the size.

    Args:
        compute: takes the size of its batches, on which its result does not depend.
        size: to begin with.
        tell: is told of each retry.

    Returns:
        The result, and the size that it was computed with.

    Raises:
        torch.OutOfMemoryError: the memory does not suffice for one example.
    """
    while True:
        try:
            return compute(size), size
        except torch.OutOfMemoryError:
            if size <= 1:
                raise
        size //= 2  # out of the handler, which keeps alive what filled the memory
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        tell(f"out of memory: trying again with {size} examples at once")
