"""Corruptions by weather: images (N, C, H, W) in [0, 1], C 1 or 3; may leave [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchbench.contract import KeyedGenerator
from benchbench_corruptions.blur import smear, zoomed
from benchbench_corruptions.fractal import height_maps

_LUMA = (0.299, 0.587, 0.114)
_ICE = (0.85, 0.93, 1.0)  # colour of the thickest frost
_FROST_DECAY = 1.7


def fog(images: Tensor, strength: tuple[float, float], generator: KeyedGenerator) -> Tensor:
    """Add a cloudy height map, then scale back to the brightness that the image had.

    `strength` is (how much of it, decay of its details): (x + c m) * max(x) / (max(x) + c).
    """
    amount, decay = strength
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    clouds = height_maps(*images.shape[2:], decay, generator)[:, None].to(images)
    return (images + amount * clouds) * brightest / (brightest + amount)


def frost(images: Tensor, strength: tuple[float, float], generator: KeyedGenerator) -> Tensor:
    """Mix in a layer of ice: `strength` is (share of the image, share of the ice).

    The authors lay photographs of frost over the images. This ice is generated: bright veins where two height maps cross
    their middle, on a bluish ground. The shares are the authors'; accuracies are at best near theirs.
    """
    share, of_ice = strength
    veins = [
        1.0 - (2.0 * height_maps(*images.shape[2:], _FROST_DECAY, generator.child(part)) - 1.0).abs()
        for part in ("first", "second")
    ]
    ice = (0.25 + 0.75 * torch.maximum(*veins).square())[:, None].to(images)
    tint = images.new_tensor(_ICE if images.shape[1] == 3 else (sum(_ICE) / 3,)).view(-1, 1, 1)
    return share * images + of_ice * ice * tint


def snow(images: Tensor, strength: tuple[float, ...], generator: KeyedGenerator) -> Tensor:
    """Whiten the image, add a layer of falling flakes and the same turned by half a circle.

    `strength` is (mean and deviation of the noise that makes the flakes, factor of its enlargement, least value of a flake,
    radius and deviation of their motion, share of the image that is not whitened). The angle of their fall is drawn for each
    image, uniform in [-135, -45] degrees.
    """
    mean, deviation, enlarged, least, radius, spread, share = strength
    height, width = images.shape[2:]
    noise = mean + deviation * generator.child("flakes").normal(1, height, width).to(images)
    flakes = zoomed(noise, enlarged)
    flakes = torch.where(flakes < least, torch.zeros_like(flakes), flakes).clamp(0.0, 1.0)
    angle = generator.child("angle").uniform(low=-0.75 * math.pi, high=-0.25 * math.pi).to(images.device)
    falling = smear((flakes * 255.0).floor() / 255.0, radius, spread, angle)
    white = torch.maximum(images, _grey(images) * 1.5 + 0.5)
    return share * images + (1.0 - share) * white + falling + falling.rot90(2, dims=(2, 3))


def _grey(images: Tensor) -> Tensor:
    """Brightness (N, 1, H, W) of grey or colour images."""
    if images.shape[1] == 1:
        return images
    return (images * images.new_tensor(_LUMA).view(-1, 1, 1)).sum(dim=1, keepdim=True)
