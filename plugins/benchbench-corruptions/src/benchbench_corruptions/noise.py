"""Corruptions by noise. Each takes images (N, C, H, W) in [0, 1] and a strength, and may leave [0, 1]."""

from __future__ import annotations

import torch
from scipy.stats import poisson
from torch import Tensor

from benchbench.contract import KeyedGenerator


def gaussian_noise(images: Tensor, strength: float, generator: KeyedGenerator) -> Tensor:
    """Add N(0, strength^2) to every value."""
    return images + strength * generator.normal_like(images)


def shot_noise(images: Tensor, strength: float, generator: KeyedGenerator) -> Tensor:
    """Poisson(strength * x) / strength: each value counts photons; fewer photons, more noise.

    Counts come from the inverse of Poisson's distribution function at keyed uniform numbers, on the CPU.
    """
    unit = generator.uniform_like(images).double().cpu()
    counts = poisson.ppf((unit + 2.0**-25).numpy(), (strength * images).double().cpu().numpy())
    return torch.from_numpy(counts).clamp(min=0.0).to(images) / strength


def impulse_noise(images: Tensor, strength: float, generator: KeyedGenerator) -> Tensor:
    """Set each value to 0 or 1, with probability strength / 2 each (salt and pepper)."""
    unit = generator.uniform_like(images)
    salted = torch.where(unit < strength, torch.ones_like(images), images)
    return torch.where(unit < strength / 2, torch.zeros_like(images), salted)
