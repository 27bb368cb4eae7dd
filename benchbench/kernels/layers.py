"""Layers that compute the same in another way within a block: quicker, or repeatably."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from types import MethodType
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


@contextmanager
def repeatable_pooling(model: nn.Module) -> Iterator[None]:
    """Run a block in which a model on CUDA pools overlapping windows with repeatable gradients.

    The stem of ResNet50 has such a max-pooling. Where windows share their largest pixel, torch's kernel adds their gradients in
    the order in which its threads arrive. Here the windows are stacked, so that gradients are added one window after the other.
    """
    on_cuda = any(parameter.is_cuda for parameter in model.parameters())
    with other_forward(model, lambda module: on_cuda and overlaps(module), pool):
        yield


def overlaps(module: nn.Module) -> bool:
    """Whether a layer is a max-pooling whose windows share pixels."""
    if type(module) is not nn.MaxPool2d or module.return_indices or module.ceil_mode:
        return False
    pairs = zip(_pair(module.kernel_size), _pair(module.stride), _pair(module.dilation))
    return any(stride < dilation * (size - 1) + 1 for size, stride, dilation in pairs)


def pool(module: nn.MaxPool2d, inputs: Tensor) -> Tensor:
    """Return the layer's output for images (N, C, H, W) or (C, H, W)."""
    size, stride, padding, dilation = map(_pair, (module.kernel_size, module.stride, module.padding, module.dilation))
    padded = F.pad(inputs, (padding[1], padding[1], padding[0], padding[0]), value=-math.inf)
    counts = [(padded.shape[axis - 2] - dilation[axis] * (size[axis] - 1) - 1) // stride[axis] + 1 for axis in range(2)]
    windows = []
    for row, column in product(*map(range, size)):
        top, left = row * dilation[0], column * dilation[1]
        bottom, right = top + stride[0] * (counts[0] - 1) + 1, left + stride[1] * (counts[1] - 1) + 1
        windows.append(padded[..., top : bottom : stride[0], left : right : stride[1]])
    return torch.stack(windows).max(dim=0).values


def _pair(size: int | tuple[int, ...]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


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
    """Run a block in which a model's sequences of layers compute the same bits in less time.

    A ReLU costs a pass over memory forward and another one backward; both grow with its input. Max-pooling and ReLU commute, in
    values and gradients: a largest value above 0 is the same in either order, and otherwise nothing passes. So a ReLU before a
    max-pooling runs after it, on fewer values. It also runs after a flattening that follows: gradients come back in the flat
    order, and a ReLU that mixes two orders takes ten times as long. A ReLU after a layer that does not need its output again
    overwrites that output. Where a convolution comes next, nobody else sees its gradient, so the backward pass overwrites that.
    """

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


Pair = tuple[int, int]


@contextmanager
def quick_narrow_convolutions(model: nn.Module) -> Iterator[None]:
    """Run a block in which frozen convolutions over few channels get input gradients quickly.

    An image model's first convolution is one. On a CPU, oneDNN pads the gradient's channels to a whole vector. With one channel
    nearly all of its work is padding: for CNN2 on MNIST an eighth of a forward and input-gradient pass. Here one matrix product
    computes what each output position sends back, and `_folded` adds it up. Forward passes use torch's kernel and give its
    bits.
    """
    with other_forward(model, _is_narrow, _narrow_forward):
        yield


def _is_narrow(module: nn.Module) -> bool:
    """Whether the folded columns are no larger than the output, where this was faster."""
    return (
        type(module) is nn.Conv2d
        and module.in_channels * math.prod(module.kernel_size) <= module.out_channels
        and module.groups == 1
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and module.weight.device.type == "cpu"
    )


def _narrow_forward(module: nn.Conv2d, inputs: Tensor) -> Tensor:
    weight, bias = module.weight, module.bias
    trained = weight.requires_grad or (bias is not None and bias.requires_grad)
    if trained or inputs.dim() != 4 or not (torch.is_grad_enabled() and inputs.requires_grad):
        return nn.Conv2d.forward(module, inputs)
    geometry = (module.stride, module.padding, module.dilation)
    output: Tensor = _NarrowConvolution.apply(inputs, weight, bias, *geometry)  # type: ignore[no-untyped-call]
    return output


class _Convolved(Context, Protocol):
    """The context of a convolution, with the shape and type of its input."""

    geometry: list[Pair]
    size: torch.Size
    dtype: torch.dtype


class _NarrowConvolution(torch.autograd.Function):
    """A convolution with a gradient for its input alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        inputs: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair
    ) -> Tensor:
        return F.conv2d(inputs, weight, bias, stride, padding, dilation)

    @staticmethod
    def setup_context(
        ctx: _Convolved, inputs: tuple[Tensor, Tensor, Tensor | None, Pair, Pair, Pair], output: Tensor
    ) -> None:
        images, weight, _, *ctx.geometry = inputs
        ctx.save_for_backward(weight)
        ctx.size, ctx.dtype = images.shape[2:], images.dtype

    @staticmethod
    def backward(ctx: _Convolved, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        (gradient,) = gradients
        channels_last = gradient.permute(0, 2, 3, 1)  # a view where the output is in this layout
        columns = weight.flatten(1).t().to(gradient.dtype) @ channels_last.reshape(-1, len(weight)).t()
        columns = columns.to(ctx.dtype).view(*weight.shape[1:], *channels_last.shape[:3])
        return _folded(columns, ctx.size, *ctx.geometry), None, None, None, None, None


def _folded(columns: Tensor, size: torch.Size, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Add up columns (C, kernel height, kernel width, N, ...) to images (N, C, *size)."""
    channels, *kernel, count, height, width = columns.shape
    padded = columns.new_zeros(channels, count, size[0] + 2 * padding[0], size[1] + 2 * padding[1])
    for row, column in product(*map(range, kernel)):
        rows = _places(row * dilation[0], stride[0], height)
        across = _places(column * dilation[1], stride[1], width)
        padded[:, :, rows, across] += columns[:, row, column]
    inside = padded[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]
    return inside.transpose(0, 1).contiguous()


def _places(first: int, step: int, count: int) -> slice:
    return slice(first, first + step * (count - 1) + 1, step)
