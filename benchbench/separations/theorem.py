"""Try to refute Theorem 4.2 numerically: it succeeds where the theorem does not apply."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchbench.contract import KeyedGenerator
from benchbench.errors import OptionError

TOLERANCE = 1e-8  # of margins, which are of order one, in float64
RATIO_TOLERANCE = 1e-6  # of the ratio: rounding of f over the least distance
SCALES = (1.0, 0.1, 0.001)  # of perturbations, as fractions of r: far jumps and local slopes
LEAST_DISTANCE = 1e-6  # of x' from x, as a fraction of r: nearer, the ratio is rounding
DRAWS = 3  # of noise at each scale


@dataclass(frozen=True, kw_only=True)
class TheoremCheck:
    """The worst found at all points and perturbations tried: it proves only a failure."""

    r: float  # radius claimed
    separation: float  # least L-inf distance between points of different classes; at least 2r
    ratio: float  # largest r |f(x)_i - f(x')_i| / dist(x, x') over coordinates i; at most 1
    point_margin: float  # smallest f(x)_j - f(x)_y over j != y at the points; at least 2
    ball_margin: float  # the same over the balls of radius r; at least 0, a tie only at distance r

    @property
    def failures(self) -> tuple[str, ...]:
        """The statements that do not hold, in words; empty if the theorem was confirmed."""
        apart = self.separation >= 2.0 * self.r * (1.0 - TOLERANCE)
        checks = {
            f"not {self.r}-separated: classes are {self.separation} apart, less than 2r": apart,
            f"not 1/r-Lipschitz: ratio {self.ratio} / r": self.ratio <= 1.0 + RATIO_TOLERANCE,
            f"margin {self.point_margin} at a point, less than 2": self.point_margin >= 2.0 - TOLERANCE,
            f"not astute at r: margin {self.ball_margin} in a ball": self.ball_margin >= -TOLERANCE,
        }
        return tuple(failure for failure, holds in checks.items() if not holds)


@torch.no_grad()
def check_theorem(
    functions: Callable[[Tensor], Tensor], points: Tensor, labels: Tensor, *, r: float, generator: KeyedGenerator
) -> TheoremCheck:
    """Try to refute that f is 1/r-locally Lipschitz and argmin f astute at radius r, above 0.

    In each point's ball it tries noise, and steps straight towards the nearest point of every class: for f of equation 1
    these are the steepest and the most dangerous ones. The `functions`, f, map float64 (N, ...) to (N, C); the classifier is
    their argmin (equation 2). The points (N, ...) have labels int64 (N,) in [0, C). The generator has a row for each point.
    """
    if not (math.isfinite(r) and r > 0):
        raise OptionError(f"r must be a finite number above 0, got {r!r}")
    points = points.double()
    away = torch.cdist(points.flatten(1), points.flatten(1), p=math.inf)
    values = functions(points)
    own = torch.nn.functional.one_hot(labels, values.shape[1]).bool()
    ratio, ball_margin = 0.0, math.inf
    for inside in _perturbed(points, labels, away, r, generator):
        found = functions(inside)
        distance = (inside - points).flatten(1).abs().amax(dim=1, keepdim=True).clamp(min=LEAST_DISTANCE * r)
        ratio = max(ratio, float((r * (found - values).abs() / distance).max()))
        ball_margin = min(ball_margin, _margin(found, own))
    separation = float(away[labels[:, None] != labels].min())
    margin = _margin(values, own)
    return TheoremCheck(
        r=r, separation=separation, ratio=ratio, point_margin=margin, ball_margin=min(margin, ball_margin)
    )


def _margin(values: Tensor, own: Tensor) -> float:
    return float((values.masked_fill(own, math.inf).amin(dim=1) - values[own]).min())


def _perturbed(points: Tensor, labels: Tensor, away: Tensor, r: float, generator: KeyedGenerator) -> Iterator[Tensor]:
    for length in (scale * r for scale in SCALES):
        for draw in range(DRAWS):
            yield points + generator.child(draw, str(length)).uniform_like(points, low=-length, high=length)
        for label in range(int(labels.max()) + 1):
            nearest = points[away.masked_fill(labels != label, math.inf).argmin(dim=1)]
            yield points + (nearest - points).clamp(-length, length)
