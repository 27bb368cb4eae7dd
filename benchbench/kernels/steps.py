"""The step of projected sign ascent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def sign_step(points: Tensor, gradient: Tensor, lowest: Tensor, highest: Tensor, length: float) -> Tensor:
    """Move points by `length` along a gradient's signs and clamp them; may overwrite the points."""
    if points.is_cuda:
        from benchbench.kernels import fused

        return fused.sign_step(points, gradient, lowest, highest, length)
    import torch

    return torch.clamp(points.add_(gradient.sign(), alpha=length), lowest, highest, out=points)
