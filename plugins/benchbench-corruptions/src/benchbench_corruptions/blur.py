"""Corruptions by blur. Each takes images (N, C, H, W) in [0, 1] and gives images in [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from benchbench.contract import KeyedGenerator


def defocus_blur(images: Tensor, strength: tuple[float, float], generator: KeyedGenerator) -> Tensor:
    """Average over a disk whose edge is softened; `strength` is (radius, width of the edge) in pixels. Draws nothing."""
    kernel = disk(*strength).to(images)
    return _convolve(images, kernel.expand(len(images), *kernel.shape))


def motion_blur(images: Tensor, strength: tuple[float, float], generator: KeyedGenerator) -> Tensor:
    """Average along a line through each pixel at an angle of its image, uniform in [-45, 45] degrees.

    `strength` is (length, sigma) in pixels: the weights along the line are those of a half normal distribution.
    """
    length, sigma = strength
    angle = generator.uniform(low=-math.pi / 4, high=math.pi / 4).to(images)
    steps = torch.arange(math.ceil(length) + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-steps.square() / (2.0 * sigma**2))
    reach = len(steps) - 1
    places = torch.stack([angle.sin(), angle.cos()])[:, :, None] * steps + reach  # (2, N, steps): row and column
    kernel = images.new_zeros(len(images), (2 * reach + 1) ** 2)
    low = places.floor().clamp(max=2 * reach - 1)
    part = places - low
    for down in (0, 1):  # each point of the line is shared among the four pixels around it
        for right in (0, 1):
            share = (part[0] if down else 1 - part[0]) * (part[1] if right else 1 - part[1])
            index = (low[0] + down) * (2 * reach + 1) + low[1] + right
            kernel.scatter_add_(1, index.long(), share * weights)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    return _convolve(images, kernel.view(-1, 2 * reach + 1, 2 * reach + 1))


def disk(radius: float, edge: float) -> Tensor:
    """The kernel of defocus: a disk, blurred by a normal distribution of standard deviation `edge`; float64, sum 1."""
    reach = math.floor(radius) + math.ceil(3.0 * edge)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float64)
    inside = (axis[:, None].square() + axis.square() <= radius**2).double()
    soft = torch.exp(-axis.square() / (2.0 * edge**2))
    blur = torch.exp(-(axis[:, None] - axis).square() / (2.0 * edge**2)) / soft.sum()
    kernel = blur @ inside @ blur.T
    return kernel / kernel.sum()


def _convolve(images: Tensor, kernels: Tensor) -> Tensor:
    """Blur each image (N, C, H, W) with its own kernel (N, K, K), K odd; beyond the edges the border pixels go on."""
    count, channels, height, width = images.shape
    reach = kernels.shape[-1] // 2
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    weight = kernels[:, None].expand(-1, channels, -1, -1).reshape(count * channels, 1, *kernels.shape[1:])
    blurred = F.conv2d(padded.reshape(1, count * channels, *padded.shape[2:]), weight, groups=count * channels)
    return blurred.view(count, channels, height, width)
