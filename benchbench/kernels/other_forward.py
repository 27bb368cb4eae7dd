"""Layers that take another way forward for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

from torch import nn


@contextmanager
def other_forward(
    model: nn.Module, is_chosen: Callable[[nn.Module], bool], forward: Callable[..., Any]
) -> Iterator[None]:
    """Run a block in which the chosen modules of a model pass forward by a function of module and inputs.

    A module with a ``forward`` of its own, set by an enclosing block or by the model's author, keeps that one.
    """
    chosen = [module for module in model.modules() if "forward" not in vars(module) and is_chosen(module)]
    for module in chosen:
        module.forward = MethodType(forward, module)  # bound, so that a deep copy of the model calls the copy's layers
    try:
        yield
    finally:
        for module in chosen:
            del module.forward
