"""Sequences of layers with less work between their convolutions and the same bits.

A ReLU costs a pass over memory forward and another one backward; both grow with its input. Max-pooling and ReLU commute, in
values and gradients: a largest value above 0 is the same in either order, and otherwise nothing passes. So a ReLU before a
max-pooling runs after it, on fewer values. It also runs after a flattening that follows: gradients come back in the flat
order, and a ReLU that mixes two orders takes ten times as long. A ReLU after a layer that does not need its output again
overwrites that output. Where a convolution comes next, nobody else sees its gradient, so the backward pass overwrites that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.kernels.other_forward import other_forward

_KEEP_NO_OUTPUT = (nn.Conv2d, nn.Linear, nn.MaxPool2d)  # of these, autograd saves inputs, weights and positions


class Context(Protocol):
    """The members of autograd contexts that are used here; torch does not declare them all."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for the backward pass."""

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Declare inputs that the forward pass has overwritten."""


@contextmanager
def quick_sequences(model: nn.Module) -> Iterator[None]:
    """Run a block in which a model's sequences of layers compute the same in less time."""

    def has_a_relu(module: nn.Module) -> bool:
        return type(module) is nn.Sequential and any(type(layer) is nn.ReLU for layer in module)

    with other_forward(model, has_a_relu, quick_forward):
        yield


def quick_forward(sequence: nn.Sequential, inputs: Tensor) -> Tensor:
    """Return the output of a sequence."""
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
        if torch.is_grad_enabled():  # the gradient will be differentiated again
            passed: Tensor = backward(gradient, output, 0)
        else:
            passed = backward.grad_input(gradient, output, 0, grad_input=gradient)
        return passed


def is_plain(layer: nn.Module | None, kind: type[nn.Module]) -> bool:
    """Whether the layer has exactly this type and no hooks."""
    if type(layer) is not kind:
        return False
    watched = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return not any(watched)
