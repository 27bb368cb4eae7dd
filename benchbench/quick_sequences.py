"""Sequences of layers with less to do between their convolutions, and the same bits.

A ReLU takes a pass over memory forward and another one backward, both of which grow with its input. Pooling by the largest
value and ReLU commute, values and gradients alike: the largest value is the same one where it is above 0, and where it is not,
nothing passes in either order. So a ReLU that comes before such a pooling is taken after it, on what is left. A ReLU that
follows a layer which does not need its own output again overwrites that output.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

from torch import Tensor, nn
from torch.nn import functional as F

_KEEP_NO_OUTPUT = (nn.Conv2d, nn.Linear, nn.MaxPool2d)  # what autograd saves of these: inputs, weights, positions


@contextmanager
def quick_sequences(model: nn.Module) -> Iterator[None]:
    """Run a block in which a model's sequences of layers take the same steps in less time."""
    chosen = [module for module in model.modules() if _has_a_relu(module)]
    for module in chosen:
        # A bound method, so that a deep copy of the model calls the copy's layers.
        module.forward = MethodType(_forward, module)
    try:
        yield
    finally:
        for module in chosen:
            del module.forward


def _has_a_relu(module: nn.Module) -> bool:
    own = "forward" in vars(module)  # set by an enclosing block, or by the model's author
    return type(module) is nn.Sequential and not own and any(type(layer) is nn.ReLU for layer in module)


def _forward(sequence: nn.Sequential, inputs: Tensor) -> Tensor:
    values, before = inputs, None
    layers = iter([*sequence, None])
    layer = next(layers)
    while layer is not None:
        after = next(layers)
        if not _is_plain(layer, nn.ReLU):
            values = layer(values)
        elif after is not None and _is_plain(after, nn.MaxPool2d) and not after.return_indices:
            values = F.relu(after(values), inplace=True)
            before, after = None, next(layers)
        else:
            values = F.relu(values, inplace=_may_be_overwritten(before))
        before, layer = layer, after
    return values


def _may_be_overwritten(layer: nn.Module | None) -> bool:
    return any(_is_plain(layer, kind) for kind in _KEEP_NO_OUTPUT)


def _is_plain(layer: nn.Module | None, kind: type[nn.Module]) -> bool:
    """Whether a layer is just that, and nobody watches what goes in and out."""
    if type(layer) is not kind:
        return False
    watched = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return not any(watched)
