"""Corruptions by blur. Each takes images (N, C, H, W) in [0, 1] and gives images in [0, 1]."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from benchbench.contract import KeyedGenerator


def defocus_blur(images: Tensor, strength: tuple[float, float], generator: KeyedGenerator) -> Tensor:
    """Average over a disk with a soft edge; `strength` is (radius, width of the edge) in pixels.

    Draws nothing. Beyond the border the image is mirrored, without repeating its border pixels.
    """
    kernel = disk(*strength).to(images)
    channels, reach = images.shape[1], kernel.shape[0] // 2
    padded = images[:, :, _mirrored(images.shape[2], reach)][:, :, :, _mirrored(images.shape[3], reach)]
    return F.conv2d(padded, kernel.expand(channels, 1, *kernel.shape), groups=channels)


def motion_blur(images: Tensor, strength: tuple[float, float], generator: KeyedGenerator) -> Tensor:
    """Average along a line, at an angle per image uniform in [-45, 45] degrees; see `smear`."""
    angle = generator.uniform(low=-math.pi / 4, high=math.pi / 4)
    return smear(images, *strength, angle.to(images.device))


def glass_blur(images: Tensor, strength: tuple[float, int, int], generator: KeyedGenerator) -> Tensor:
    """Blur, then let each pixel take the value of a random neighbour, then blur again.

    `strength` is (standard deviation, distance of neighbours, rounds). The last pixel is the first to change. As in the
    authors' code, a neighbour keeps its value: on colour images its exchange of two pixels only copies.
    """
    deviation, reach, rounds = strength
    shuffled = np.floor(_gaussian(images, deviation) * 255.0) / 255.0
    count, _, height, width = shuffled.shape
    draws = generator.uniform(rounds, height, width, 2, low=-float(reach), high=float(reach))
    moves = draws.floor().clamp(-reach, reach - 1).to("cpu", torch.int64).numpy()
    source = np.broadcast_to(np.arange(height * width).reshape(height, width), (count, height, width)).copy()
    image = np.arange(count)
    for turn in range(rounds):
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                down, right = moves[:, turn, row, column].T
                source[:, row, column] = source[image, row + down, column + right]
    taken = np.take_along_axis(shuffled.reshape(count, -1, height * width), source.reshape(count, 1, -1), axis=2)
    return torch.from_numpy(_gaussian(torch.from_numpy(taken.reshape(shuffled.shape)), deviation)).to(images)


def zoom_blur(images: Tensor, strength: tuple[float, float], generator: KeyedGenerator) -> Tensor:
    """Mean of the image and its enlargements by 1, 1 + step, ...; `strength` is (end, step)."""
    end, step = strength
    factors = np.arange(1.0, end, step)
    total = images + sum(zoomed(images, float(factor)) for factor in factors)
    return total / (len(factors) + 1)


def smear(images: Tensor, radius: float, deviation: float, angle: Tensor) -> Tensor:
    """Average the pixels on a line from each pixel, with half-normal weights.

    The line is 2 * radius pixels long, and each of its points stands for the nearest pixel; border pixels are repeated beyond
    the border. So does the motion blur of ImageMagick, with which the published images were made.

    Args:
        images: float (N, C, H, W).
        radius: in pixels.
        deviation: of the weights, in pixels.
        angle: (N,), in radians; from 0, to the right, clockwise.
    """
    height, width = images.shape[2:]
    steps = torch.arange(2 * math.ceil(radius) + 1, dtype=torch.float64, device=images.device)
    weights = torch.exp(-steps.square() / (2.0 * deviation**2))
    angle = angle.double()[:, None]
    down, right = ((steps * part - 0.5).ceil().long() for part in (angle.sin(), angle.cos()))  # (N, steps)
    image = torch.arange(len(images), device=images.device)[:, None, None]
    total = torch.zeros_like(images).permute(0, 2, 3, 1)
    for step, weight in enumerate((weights / weights.sum()).tolist()):
        rows = (torch.arange(height, device=images.device) + down[:, step, None]).clamp(0, height - 1)
        columns = (torch.arange(width, device=images.device) + right[:, step, None]).clamp(0, width - 1)
        total = total + weight * images.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]]
    return total.permute(0, 3, 1, 2)


def zoomed(images: Tensor, factor: float) -> Tensor:
    """Enlarge the middle of images (N, C, H, W) linearly by a factor >= 1, in the same size."""
    sizes = images.shape[2:]
    parts = [math.ceil(size / factor) for size in sizes]
    top, left = ((size - part) // 2 for size, part in zip(sizes, parts))
    middle = images[:, :, top : top + parts[0], left : left + parts[1]]
    large = F.interpolate(middle, size=[round(part * factor) for part in parts], mode="bilinear", align_corners=True)
    top, left = ((have - size) // 2 for have, size in zip(large.shape[2:], sizes))
    return large[:, :, top : top + sizes[0], left : left + sizes[1]]


def disk(radius: float, edge: float) -> Tensor:
    """The defocus kernel, float64 with sum 1: a pixel disk softened by a normal distribution.

    The distribution has the standard deviation `edge`, and covers 3x3 pixels up to a radius of 8, else 5x5.
    """
    reach = math.floor(radius) + (1 if radius <= 8 else 2)
    axis = np.arange(-reach, reach + 1)
    inside = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.float64)
    around = np.arange(-1 if radius <= 8 else -2, 2 if radius <= 8 else 3)
    soft = np.exp(-(around**2) / (2.0 * edge**2))
    kernel = ndimage.convolve(inside, np.outer(soft, soft), mode="constant")
    return torch.from_numpy(kernel / kernel.sum())


def _gaussian(images: Tensor, deviation: float) -> np.ndarray:
    blurred: np.ndarray = ndimage.gaussian_filter(
        images.double().cpu().numpy(), sigma=(0.0, 0.0, deviation, deviation), mode="nearest"
    )
    return blurred


def _mirrored(size: int, reach: int) -> Tensor:
    """The places of `reach` more pixels on either side, mirrored at the first and the last one."""
    period = max(1, 2 * (size - 1))
    places = torch.arange(-reach, size + reach).remainder(period)
    return torch.minimum(places, period - places).clamp(max=size - 1)
