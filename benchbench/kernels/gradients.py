"""A gradient for given weights, without torch's compiler.

``torch.autograd.grad(values, point, weights)`` compares the shapes of values and weights by the compiler's symbolic ones. The
first call imports those, and sympy with them: more than a second in every process that attacks.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


class _WeightedSum(torch.autograd.Function):
    """Stands for the sum of weights times values: its gradient alone is computed, not its value."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(weights)
        return values.new_zeros(())

    @staticmethod
    def backward(ctx: FunctionCtx, _: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return weights, None


def weighted_gradient(values: Tensor, weights: Tensor, point: Tensor) -> Tensor:
    """The gradient at `point`, in its shape, of summed weights times values (floats, one shape)."""
    if point.device.type == "cuda":  # there two launches for each step cost more than an import
        return torch.autograd.grad(values, point, weights)[0]
    return torch.autograd.grad(_WeightedSum.apply(values, weights), point)[0]  # type: ignore[no-untyped-call]
