"""Corruptions by processing: each takes images (N, C, H, W) in [0, 1] and draws nothing."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchbench.contract import KeyedGenerator


def brightness(images: Tensor, strength: float, generator: KeyedGenerator) -> Tensor:
    """Raise the HSV value by strength, hue and saturation kept; grey images become brighter."""
    value = images.amax(dim=1, keepdim=True)
    raised = (value + strength).clamp(max=1.0)
    return torch.where(value > 0, images * raised / value.clamp(min=1e-6), raised)


def contrast(images: Tensor, strength: float, generator: KeyedGenerator) -> Tensor:
    """Move every value towards its channel's mean: (x - mean) * strength + mean."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return (images - mean) * strength + mean


def pixelate(images: Tensor, strength: float, generator: KeyedGenerator) -> Tensor:
    """Shrink to strength times the size by area averages, and enlarge again by the same filter."""

    def change(picture: Image.Image) -> Image.Image:
        small = (max(1, int(picture.width * strength)), max(1, int(picture.height * strength)))
        return picture.resize(small, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BOX)

    return _by_picture(images, change)


def jpeg_compression(images: Tensor, strength: int, generator: KeyedGenerator) -> Tensor:
    """Store as JPEG of quality `strength` (1 to 95) and read again."""

    def change(picture: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=strength)
        with Image.open(buffer) as stored:
            stored.load()
            return stored

    return _by_picture(images, change)


def _by_picture(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Apply a change to each image as 8-bit grey or colour picture."""
    pixels = (images * 255.0).round().clamp(0, 255).to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
    grey = pixels.shape[3] == 1
    changed = [np.asarray(change(Image.fromarray(one[..., 0] if grey else one))) for one in pixels]
    stacked = torch.from_numpy(np.stack(changed))
    stacked = stacked[:, None] if grey else stacked.permute(0, 3, 1, 2)
    return stacked.to(images) / 255.0
