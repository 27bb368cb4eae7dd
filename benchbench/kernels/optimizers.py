"""torch's optimisers without its compiler."""

from __future__ import annotations

import inspect
from typing import TypeVar

from torch import no_grad
from torch.optim import Optimizer

OptimizerT = TypeVar("OptimizerT", bound=Optimizer)


def uncompiled(kind: type[OptimizerT]) -> type[OptimizerT]:
    """A class of optimisers that compute the same and do not import torch's compiler.

    torch wraps methods to keep the compiler out of them. The first call imports the compiler, which takes two seconds in every
    process that trains.
    """
    wrapped = {name: method for name, method in vars(Optimizer).items() if hasattr(method, "__wrapped__")}
    bare = {name: inspect.unwrap(method) for name, method in wrapped.items() if getattr(kind, name) is method}
    return type(kind.__name__, (kind,), {**bare, "step": no_grad()(inspect.unwrap(kind.step))})
