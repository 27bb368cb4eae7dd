"""Regions of inputs, and the least value of linear functions there."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchbench.bounds.windows import Window

_BISECTIONS = 30
_REAL_UNIT = 2.0**-52


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """Boxes, float64 (N, ...), each intersected with a ball of order 2 or 1, if any."""

    lower: Tensor
    upper: Tensor
    centre: Tensor | None = None
    radius: float = 0.0
    order: float = math.inf

    def take(self, places: Tensor) -> Region:
        """The regions at some places, int64."""
        centre = None if self.centre is None else self.centre[places]
        return replace(self, lower=self.lower[places], upper=self.upper[places], centre=centre)

    def within(self, window: Window | None) -> Region:
        """The regions of the pixels in a window."""
        if window is None:
            return self
        centre = None if self.centre is None else window.of(self.centre)
        return replace(self, lower=window.of(self.lower), upper=window.of(self.upper), centre=centre)

    def least(self, rows: Tensor) -> Tensor:
        """A lower bound of the linear functions `rows`, (N, R, ...), float64 (N, R)."""
        flat, lower, upper = rows.flatten(2), self.lower.flatten(1)[:, None], self.upper.flatten(1)[:, None]
        size = flat.abs() @ (torch.maximum(lower.abs(), upper.abs()) + self.radius).transpose(1, 2)
        slack = _REAL_UNIT * (flat.shape[2] + 8) * size[:, :, 0]  # of this sum in float64 (Higham, 2002, section 3.1)
        middle, half = (lower + upper) / 2, (upper - lower) / 2
        found = (flat @ middle.transpose(1, 2) - flat.abs() @ half.transpose(1, 2))[:, :, 0]
        if self.centre is None:
            return found - slack
        centre = self.centre.flatten(1)[:, None]
        dual = math.inf if self.order == 1 else 2.0
        ball = (flat * centre).sum(2) - self.radius * torch.linalg.vector_norm(flat, ord=dual, dim=2)
        found = torch.maximum(found, ball)
        if self.order == 2:
            found = torch.maximum(found, self._least_in_both(flat, lower, upper, centre))
        return found - slack

    def _least_in_both(self, flat: Tensor, lower: Tensor, upper: Tensor, centre: Tensor) -> Tensor:
        """Weak duality: min over the box of a x + w (|x - c|^2 - r^2) is a bound for each w > 0.

        Its minimiser is c - a / 2w, clipped to the box; bisection finds the w where its distance to c is r.
        """
        size = torch.linalg.vector_norm(flat.detach(), dim=2, keepdim=True).clamp(min=1e-30)
        least, most = torch.full_like(size, -60.0), (size / (2 * self.radius)).log2()  # of log2(w)

        def nearest(weight: Tensor) -> Tensor:
            return (centre - flat.detach() / (2 * weight)).clamp(min=lower, max=upper)

        for _ in range(_BISECTIONS):
            weight = torch.exp2((least + most) / 2)
            beyond = torch.linalg.vector_norm(nearest(weight) - centre, dim=2, keepdim=True) > self.radius
            least, most = torch.where(beyond, (least + most) / 2, least), torch.where(beyond, most, (least + most) / 2)
        weight = torch.exp2(most)
        point = nearest(weight)
        inside = (point - centre).square().sum(2) - self.radius**2
        return (flat * point).sum(2) + weight[:, :, 0] * inside


def ball(images: Tensor, radius: float, order: float, *, lower: float, upper: float) -> Region:
    """The balls around images (N, ...) in the box [lower, upper]^d, rounded outward."""
    centre = images.double()
    outward = radius * (1 + 2.0**-40) + 2.0**-48 * max(1.0, float(centre.abs().max()))
    return Region(
        lower=(centre - outward).clamp(min=lower, max=upper),
        upper=(centre + outward).clamp(min=lower, max=upper),
        centre=None if order == math.inf else centre,
        radius=outward,
        order=order,
    )
