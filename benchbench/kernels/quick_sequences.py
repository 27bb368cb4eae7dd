"""Sequences of layers with less to do between their convolutions, and the same bits.

A ReLU takes a pass over memory forward and another one backward, both of which grow with its input. Pooling by the largest
value and ReLU commute, values and gradients alike: the largest value is the same one where it is above 0, and where it is
not, nothing passes in either order. So a ReLU that comes before such a pooling is taken after it, on what is left, and
after a flattening that follows: what comes back from there is in the flat order, and beside another order costs ten times
as much. A ReLU that follows a layer which does not need its own output again overwrites that output; where a convolution
comes next, which makes a gradient that nobody else sees, the backward pass overwrites that one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.kernels.contexts import Context
from benchbench.kernels.other_forward import other_forward

_KEEP_NO_OUTPUT = (nn.Conv2d, nn.Linear, nn.MaxPool2d)  # what autograd saves of these: inputs, weights, positions


@contextmanager
def quick_sequences(model: nn.Module) -> Iterator[None]:
    """Run a block in which a model's sequences of layers take the same steps in less time."""
    with other_forward(model, _has_a_relu, quick_forward):
        yield


def _has_a_relu(module: nn.Module) -> bool:
    return type(module) is nn.Sequential and any(type(layer) is nn.ReLU for layer in module)


def quick_forward(sequence: nn.Sequential, inputs: Tensor) -> Tensor:
    """What a sequence makes of its inputs."""
    values, before = inputs, None
    layers = iter([*sequence, None])
    layer = next(layers)
    while layer is not None:
        after = next(layers)
        if not is_plain(layer, nn.ReLU):
            values = layer(values)
        elif after is not None and is_plain(after, nn.MaxPool2d) and not after.return_indices:
            values, after = after(values), next(layers)
            if after is not None and is_plain(after, nn.Flatten):
                values, after = after(values), next(layers)
            values, layer = F.relu(values, inplace=True), None
        else:
            values = _relu(values, before, after)
        before, layer = layer, after
    return values


def _relu(values: Tensor, before: nn.Module | None, after: nn.Module | None) -> Tensor:
    overwritten = any(is_plain(before, kind) for kind in _KEEP_NO_OUTPUT)
    derived = torch.is_grad_enabled() and values.requires_grad
    if not (overwritten and derived and is_plain(after, nn.Conv2d)) or torch._C._are_functorch_transforms_active():
        return F.relu(values, inplace=overwritten)
    output: Tensor = _FrugalRelu.apply(values)  # type: ignore[no-untyped-call]
    return output


class _FrugalRelu(torch.autograd.Function):
    """A ReLU that overwrites its input forward and the gradient backward."""

    @staticmethod
    def forward(ctx: Context, values: Tensor) -> Tensor:
        ctx.mark_dirty(values)
        output = values.relu_()
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        (gradient,) = gradients
        backward = torch.ops.aten.threshold_backward
        if torch.is_grad_enabled():  # somebody will derive the gradient in turn
            passed: Tensor = backward(gradient, output, 0)
        else:
            passed = backward.grad_input(gradient, output, 0, grad_input=gradient)
        return passed


def is_plain(layer: nn.Module | None, kind: type[nn.Module]) -> bool:
    """Whether a layer is just that, and nobody watches what goes in and out."""
    if type(layer) is not kind:
        return False
    watched = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return not any(watched)
