"""The nearest point of a hyperplane within a box: the projection of every step of FAB."""

from __future__ import annotations

import torch
from torch import Tensor

from benchbench.contract import Threat

# The gain of a level is piecewise linear and concave: Newton's method from 0 climbs monotonically and ends exactly.
_NEWTON_STEPS = 12  # mostly 3 to 8 suffice
_CLOSE = 1e-6  # relative: a level this close no longer changes, so that it does not depend on the rest of the batch


def nearest_on_hyperplane(points: Tensor, normals: Tensor, gaps: Tensor, *, threat: Threat) -> Tensor:
    """The smallest step from each point onto its hyperplane, in the threat's norm and box.

    The problem of Croce & Hein, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack", ICML 2020,
    equation 4. At the optimum every coordinate has moved by min(level * rate, room): `room` is its distance to the face of the
    box, its rate is 1 for L-inf and |normal| for L2. The gain along the normal is concave in the level, so Newton's method
    finds the level without the sorting that the paper proposes.

    Args:
        points: float (N, d), inside the box.
        normals: float (N, d).
        gaps: float (N,), the change of normal . point: the hyperplane is {z: normal . z = normal . point + gap}.
        threat: norm (L-inf or L2) and box.

    Returns:
        float (N, d). Where the hyperplane lies outside the box, the step goes as far as the box allows.
    """
    scale = normals.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(normals.dtype).tiny)
    slopes = normals.abs() / scale
    goals = gaps.abs()[:, None] / scale
    signs = (normals * gaps[:, None].sign()).sign()
    room = torch.where(signs > 0, threat.upper - points, points - threat.lower).clamp(min=0.0)
    rates = slopes if threat.norm == "l2" else torch.ones_like(slopes)
    level = torch.zeros_like(goals)
    for _ in range(_NEWTON_STEPS):
        moved = level * rates
        missing = goals - (slopes * torch.minimum(moved, room)).sum(dim=1, keepdim=True)
        growth = (slopes * rates * (moved < room)).sum(dim=1, keepdim=True)
        short = (missing > _CLOSE * goals) & (growth > 0)
        if level.device.type == "cpu" and not bool(short.any()):  # elsewhere this would wait for the device
            break
        level = torch.where(short, level + missing / growth, level)
    return signs * torch.minimum(level * rates, room)
