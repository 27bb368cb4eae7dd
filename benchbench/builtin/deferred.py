"""torch under its usual names, imported at their first use: options are known without it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F
else:

    class _Deferred:
        """A module that is imported when one of its names is used."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, name: str) -> object:
            return getattr(import_module(self._name), name)

    torch, nn, F = map(_Deferred, ("torch", "torch.nn", "torch.nn.functional"))
    Tensor = "torch.Tensor"  # for annotations only

__all__ = ["F", "Tensor", "nn", "torch", "without_gradient"]
_P = ParamSpec("_P")
_R = TypeVar("_R")


def without_gradient(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function under ``torch.no_grad``, whose decorator would import torch."""

    return wraps(function)(lambda *arguments, **options: torch.no_grad()(function)(*arguments, **options))
