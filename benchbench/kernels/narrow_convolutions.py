"""Input gradients of convolutions over few channels, by one matrix product.

An image model's first convolution is one. On a CPU, oneDNN pads the gradient's channels to a whole vector. With one channel
nearly all of its work is padding: for CNN2 on MNIST an eighth of a forward and input-gradient pass. Here one matrix product
computes what each output position sends back, and `_folded` adds it up. Forward passes use torch's kernel and give its bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.kernels.other_forward import other_forward
from benchbench.kernels.quick_sequences import Context

Pair = tuple[int, int]


@contextmanager
def quick_narrow_convolutions(model: nn.Module) -> Iterator[None]:
    """Run a block in which frozen narrow convolutions compute input gradients this way."""
    with other_forward(model, _is_narrow, _forward):
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


def _forward(module: nn.Conv2d, inputs: Tensor) -> Tensor:
    weight, bias = module.weight, module.bias
    trained = weight.requires_grad or (bias is not None and bias.requires_grad)
    if trained or inputs.dim() != 4 or not (torch.is_grad_enabled() and inputs.requires_grad):
        return nn.Conv2d.forward(module, inputs)
    geometry = (module.stride, module.padding, module.dilation)
    output: Tensor = _NarrowConvolution.apply(inputs, weight, bias, *geometry)  # type: ignore[no-untyped-call]
    return output


class _Kept(Context, Protocol):
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
        ctx: _Kept, inputs: tuple[Tensor, Tensor, Tensor | None, Pair, Pair, Pair], output: Tensor
    ) -> None:
        images, weight, _, *ctx.geometry = inputs
        ctx.save_for_backward(weight)
        ctx.size, ctx.dtype = images.shape[2:], images.dtype

    @staticmethod
    def backward(ctx: _Kept, *gradients: Tensor) -> tuple[Tensor | None, ...]:
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
