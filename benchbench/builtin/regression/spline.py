"""Ridge regression on cubic B-splines: the model of the staircase."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchbench.contract import OptionError

DEGREE = 3
OUTER_KNOTS = DEGREE + 1
STAIR_RADIUS = 1 / 3


class CubicSpline(nn.Module):
    """f(x) = features(x) . theta, cubic B-splines on knots k - 1/3, k, k + 1/3 of each stair k.

    Everything is float64: the ridge is so weak that float32 would lose the four published decimals.

    Args:
        stairs: number of stairs, at least 1; there are 3 * stairs + 4 features (34 for ten stairs).
        ridge: weight of theta' P theta in the training objective, above 0; P is `penalty`.
    """

    knots: Tensor

    def __init__(self, *, stairs: int = 10, ridge: float = 0.01) -> None:
        super().__init__()
        if stairs < 1:
            raise OptionError(f"stairs must be at least 1, got {stairs}")
        if not ridge > 0:
            raise OptionError(f"ridge must be above 0, got {ridge}")
        self.ridge = ridge
        self.register_buffer("knots", _knots(stairs))
        self.theta = nn.Parameter(torch.zeros(len(self.knots) - OUTER_KNOTS, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        """Predict: float (N, 1) positions to float64 (N,)."""
        return self.features(inputs) @ self.theta

    def features(self, inputs: Tensor) -> Tensor:
        """B-splines at float (N, 1) positions, float64 (N, F)."""
        return self._basis(inputs, DEGREE)

    def slopes(self, inputs: Tensor) -> Tensor:
        """Derivatives of the B-splines in the position, float64 (N, F)."""
        lower = self._basis(inputs, DEGREE - 1)
        scaled = lower * DEGREE / (self.knots[DEGREE:] - self.knots[:-DEGREE])
        return scaled[:, :-1] - scaled[:, 1:]

    def penalty(self) -> Tensor:
        """P = D D', D the second differences of the identity's columns; float64 (F, F), PSD."""
        identity = torch.eye(len(self.theta), dtype=self.knots.dtype, device=self.knots.device)
        differences = torch.diff(identity, n=2, dim=1)
        return differences @ differences.T

    def _basis(self, inputs: Tensor, degree: int) -> Tensor:
        """Cox-de Boor recursion: (N, number of knots - 1 - degree)."""
        knots = self.knots
        position = inputs.reshape(-1, 1).to(knots)
        basis = ((position >= knots[:-1]) & (position < knots[1:])).to(knots)
        for order in range(1, degree + 1):
            left, right = knots[: -order - 1], knots[order + 1 :]
            rise = (position - left) / (knots[order:-1] - left)
            fall = (right - position) / (right - knots[1:-order])
            basis = rise * basis[:, :-1] + fall * basis[:, 1:]
        return basis


def _knots(stairs: int) -> Tensor:
    """Knots around each stair, and four knots one apart on each side.

    The left ones are counted from minus the first knot, as in the published code, and so end 1/3, not 1, before it. The
    published numbers of natural training at n = 40 need exactly that.
    """
    stair = torch.arange(stairs, dtype=torch.float64)
    inner = torch.stack([stair - STAIR_RADIUS, stair, stair + STAIR_RADIUS], dim=1).flatten()
    unit = torch.arange(1, OUTER_KNOTS + 1, dtype=torch.float64)
    return torch.cat([-unit.flip(0) - inner[0], inner, inner[-1] + unit])
