"""Augmentation on the device: random crops with zero padding and mirror images."""

from __future__ import annotations

import torch
from torch import Tensor

from benchbench.cell.recipe import Augmentation
from benchbench.contract import KeyedGenerator


def augment(images: Tensor, augmentation: Augmentation, generator: KeyedGenerator) -> Tensor:
    """Augment images (N, C, H, W) of any dtype, to (N, C, crop, crop) if a crop is set."""
    if augmentation.padding or augmentation.crop:
        images = random_crop(images, augmentation, generator)
    if augmentation.flip:
        mirrored = generator.integers(2).bool()
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images


def random_crop(images: Tensor, augmentation: Augmentation, generator: KeyedGenerator) -> Tensor:
    """Pad with zeros on each side, then cut a window at a uniformly drawn place of each image."""
    padding = augmentation.padding
    height = augmentation.crop or images.shape[2]
    width = augmentation.crop or images.shape[3]
    padded = torch.nn.functional.pad(images, (padding, padding, padding, padding))
    top = generator.integers(padded.shape[2] - height + 1)
    left = generator.integers(padded.shape[3] - width + 1)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    cut = padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2)
