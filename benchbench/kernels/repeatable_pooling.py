"""Max-pooling with overlapping windows that gives the same gradient twice on CUDA, as in the stem of ResNet50.

torch has one kernel for it, which adds up what comes back from windows that share their largest pixel in whatever order its
threads arrive. Here the windows are laid side by side, and what comes back is added window after window.
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
    """Run a block in which a model on CUDA pools overlapping windows this way: the same values, repeatable gradients."""
    on_cuda = any(parameter.is_cuda for parameter in model.parameters())
    with other_forward(model, lambda module: on_cuda and overlaps(module), pool):
        yield


def overlaps(module: nn.Module) -> bool:
    """Whether a layer takes the largest of windows that share pixels."""
    if type(module) is not nn.MaxPool2d or module.return_indices or module.ceil_mode:
        return False
    pairs = zip(_pair(module.kernel_size), _pair(module.stride), _pair(module.dilation))
    return any(stride < dilation * (size - 1) + 1 for size, stride, dilation in pairs)


def pool(module: nn.MaxPool2d, inputs: Tensor) -> Tensor:
    """What a layer makes of images (N, C, H, W) or (C, H, W)."""
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
