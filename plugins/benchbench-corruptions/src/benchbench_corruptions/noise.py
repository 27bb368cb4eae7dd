"""Corruptions by noise: images (N, C, H, W) in [0, 1] and a strength; may leave [0, 1]."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchbench.contract import KeyedGenerator

_KEYS = 2**31 - 1  # values of each half of a key


def gaussian_noise(images: Tensor, strength: float, generator: KeyedGenerator) -> Tensor:
    """Add N(0, strength^2) to every value."""
    return images + strength * generator.normal_like(images)


def shot_noise(images: Tensor, strength: float, generator: KeyedGenerator) -> Tensor:
    """Poisson(strength * x) / strength: each value counts photons; fewer photons, more noise.

    Each image's counts come from NumPy's Philox generator, its key drawn from the keyed one, on the CPU.
    """
    keys = torch.stack([generator.child("key", part).integers(_KEYS) for part in (0, 1)], dim=1)
    means = (strength * images).double().clamp(min=0.0).cpu().numpy()
    counts = [np.random.Generator(np.random.Philox(key=key)).poisson(one) for key, one in zip(keys.tolist(), means)]
    return torch.from_numpy(np.stack(counts)).to(images) / strength


def impulse_noise(images: Tensor, strength: float, generator: KeyedGenerator) -> Tensor:
    """Set each value to 0 or 1, with probability strength / 2 each (salt and pepper)."""
    unit = generator.uniform_like(images)
    salted = torch.where(unit < strength, torch.ones_like(images), images)
    return torch.where(unit < strength / 2, torch.zeros_like(images), salted)
