"""Random starts of attacks, one independent draw per example."""

from __future__ import annotations

import torch
from torch import Tensor

from benchbench.contract import KeyedGenerator, Threat


def random_start(images: Tensor, *, threat: Threat, generator: KeyedGenerator) -> Tensor:
    """A point drawn uniformly from the ball around each image, then clipped to the box.

    Args:
        images: float (N, ...), the centres, inside the box.
        threat: ball and box.
        generator: one row per image.

    Returns:
        float (N, ...), inside ball and box. For L-inf each coordinate is uniform in [-epsilon, epsilon]; for L2 and L1
        a direction that is uniform on the sphere (normal or Laplace draws, normalised) is scaled by U^(1/d), see
        Barthe, Guedon, Mendelson, Naor, "A probabilistic approach to the geometry of the l_p^n ball", 2005.
    """
    if threat.norm == "linf":
        noise = generator.uniform_like(images, low=-threat.epsilon, high=threat.epsilon)
        return threat.project(images + noise, images)
    draws = generator.normal_like(images) if threat.norm == "l2" else _laplace_like(images, generator)
    flat = draws.flatten(1)
    order = 2 if threat.norm == "l2" else 1
    length = flat.norm(p=order, dim=1, keepdim=True).clamp(min=torch.finfo(flat.dtype).tiny)
    radius = threat.epsilon * generator.uniform(1).to(flat) ** (1.0 / flat.shape[1])
    return threat.project(images + (flat * (radius / length)).view_as(images), images)


def _laplace_like(images: Tensor, generator: KeyedGenerator) -> Tensor:
    magnitude = -torch.log1p(-generator.uniform_like(images))
    return torch.where(generator.uniform_like(images) < 0.5, -magnitude, magnitude)
