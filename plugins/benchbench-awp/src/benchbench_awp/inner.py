"""The inner maximisation over images that both objectives use."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchbench.contract import Threat


def ascend(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    images: Tensor,
    *,
    threat: Threat,
    steps: int,
    step_size: float,
) -> Tensor:
    """Projected steepest ascent, in the L-inf or the L2 ball.

    Args:
        objective: maps candidates to a scalar, summed over the batch.
        start: float (N, ...), where to begin.
        images: float (N, ...), the centres of the balls.
        threat: ball and box.
        steps: number of steps, at least 1.
        step_size: length of a step in the threat's norm.

    Returns:
        float (N, ...), detached, inside ball and box.
    """
    candidates = start.detach()
    for _ in range(steps):
        leaf = candidates.requires_grad_(True)
        (gradient,) = torch.autograd.grad(objective(leaf), leaf)
        candidates = threat.project(leaf.detach() + step_size * _steepest(gradient, threat), images)
    return candidates


def _steepest(gradient: Tensor, threat: Threat) -> Tensor:
    if threat.norm == "linf":
        return gradient.sign()
    length = torch.linalg.vector_norm(gradient.flatten(1), dim=1).clamp(min=torch.finfo(gradient.dtype).tiny)
    direction: Tensor = gradient / length.view(-1, *[1] * (gradient.dim() - 1))
    return direction
