"""Layers that take another way forward for a while."""

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
    """Run a block in which the chosen modules of a model pass forward by a function of module and inputs.

    A module with a ``forward`` of its own, set by an enclosing block or by the model's author, keeps that one, unless `over`
    says of its function that this one may stand in for it.
    """

    def is_free(module: nn.Module) -> bool:
        own = vars(module).get("forward")
        return own is None or over(getattr(own, "__func__", None))

    chosen = [
        (module, vars(module).get("forward")) for module in model.modules() if is_free(module) and is_chosen(module)
    ]
    for module, _ in chosen:
        module.forward = MethodType(forward, module)  # bound, so that a deep copy of the model calls the copy's layers
    try:
        yield
    finally:
        for module, before in chosen:
            del module.forward
            if before is not None:
                module.forward = before
