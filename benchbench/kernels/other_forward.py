"""Layers with another forward function for the length of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType

from torch import nn


@contextmanager
def other_forward(
    model: nn.Module,
    is_chosen: Callable[[nn.Module], bool],
    forward: Callable[..., object],
    over: Callable[[object], bool] = lambda _: False,
) -> Iterator[None]:
    """Run a block in which the chosen modules compute ``forward(module, inputs)`` instead.

    A module whose ``forward`` was already replaced, by an enclosing block or by the model's author, keeps it unless `over`
    accepts that function.
    """
    chosen = []
    for module in model.modules():
        before = vars(module).get("forward")
        if (before is None or over(getattr(before, "__func__", None))) and is_chosen(module):
            chosen.append((module, before))
    for module, _ in chosen:
        module.forward = MethodType(forward, module)  # bound, so that a deep copy of the model calls the copy's layers
    try:
        yield
    finally:
        for module, before in chosen:
            del module.forward
            if before is not None:
                module.forward = before
