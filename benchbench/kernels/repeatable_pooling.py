"""Max-pooling with overlapping windows and deterministic gradients on CUDA.

The stem of ResNet50 has one. Where windows share their largest pixel, torch's kernel adds their gradients in the order in
which its threads arrive. Here the windows are stacked, so that gradients are added one window after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.kernels.other_forward import other_forward


@contextmanager
def repeatable_pooling(model: nn.Module) -> Iterator[None]:
    """Run a block in which a model on CUDA pools overlapping windows with repeatable gradients."""
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
