"""Try to refute Theorem 4.2 and Lemma 4.1 numerically; it succeeds where they do not apply."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchbench.contract import KeyedGenerator, Threat, ascend
from benchbench.errors import OptionError

TOLERANCE = 1e-8  # of margins, which are of order one, in float64
RATIO_TOLERANCE = 1e-6  # of the ratio: rounding of f over the least distance
SCALES = (1.0, 0.1, 0.001)  # of the starts of the search, as fractions of r: far jumps and local slopes
LEAST_DISTANCE = 1e-6  # of x' from x, as a fraction of r: nearer, the ratio is rounding
RESTARTS, STEPS, STEP_RATIO = 1, 10, 0.2


@dataclass(frozen=True, kw_only=True)
class TheoremCheck:
    """The worst found at all points and perturbations tried: it proves only a failure."""

    r: float  # radius claimed
    separation: float  # least L-inf distance between points of different classes; at least 2r
    ratio: float  # largest r |f(x)_i - f(x')_i| / dist(x, x') over coordinates i; at most 1
    point_margin: float  # smallest f(x)_j - f(x)_y over j != y at the points; at least 2
    ball_margin: float  # the same over the balls of radius r; at least 0, a tie only at distance r
    lemma_counterexamples: int  # points where both premises of Lemma 4.1 hold, and its conclusion does not

    @property
    def failures(self) -> tuple[str, ...]:
        """The statements that do not hold, in words; empty if the theorem was confirmed."""
        apart = self.separation >= 2.0 * self.r * (1.0 - TOLERANCE)
        checks = {
            f"not {self.r}-separated: classes are {self.separation} apart, less than 2r": apart,
            f"not 1/r-Lipschitz: ratio {self.ratio} / r": self.ratio <= 1.0 + RATIO_TOLERANCE,
            f"margin {self.point_margin} at a point, less than 2": self.point_margin >= 2.0 - TOLERANCE,
            f"not astute at r: margin {self.ball_margin} in a ball": self.ball_margin >= -TOLERANCE,
            f"Lemma 4.1 fails at {self.lemma_counterexamples} points": self.lemma_counterexamples == 0,
        }
        return tuple(failure for failure, holds in checks.items() if not holds)


def check_theorem(
    functions: Callable[[Tensor], Tensor],
    points: Tensor,
    labels: Tensor,
    *,
    r: float,
    separation: float,
    generator: KeyedGenerator,
) -> TheoremCheck:
    """Try to refute that f is 1/r-locally Lipschitz and argmin f astute at radius r, above 0.

    In each point's ball it evaluates random perturbations at several scales, and from each of them steepest ascent of the
    Lipschitz ratio of every coordinate, and of f_y - f_j for every class j. The `functions`, f, map float64 (N, ...) to (N, C),
    differentiably; the classifier is their argmin (equation 2). The points (N, ...) have labels int64 (N,) in [0, C), and
    their classes the stated separation. The generator has a row for each point.
    """
    if not (math.isfinite(r) and r > 0):
        raise OptionError(f"r must be a finite number above 0, got {r!r}")
    search = _Search(functions, points.detach().double(), labels, r)
    for restart in range(RESTARTS):
        for scale in SCALES:
            for objective in range(2 * search.values.shape[1]):
                search.climb(scale, objective, generator.child(restart, str(scale), objective))
    premises = (search.ratio <= 1.0 + RATIO_TOLERANCE) & (search.point_margin >= 2.0 - TOLERANCE)
    return TheoremCheck(
        r=r,
        separation=separation,
        ratio=float(search.ratio.max()),
        point_margin=float(search.point_margin.min()),
        ball_margin=float(search.ball_margin.min()),
        lemma_counterexamples=int((premises & (search.ball_margin < -2 * RATIO_TOLERANCE)).sum()),
    )


class _Search:
    """The worst found at each point: float64 (N,) ratio, ball_margin, fixed point_margin."""

    def __init__(self, functions: Callable[[Tensor], Tensor], points: Tensor, labels: Tensor, r: float) -> None:
        self.functions, self.points, self.labels = functions, points, labels
        self.threat = Threat(epsilon=r, lower=-math.inf, upper=math.inf)
        with torch.no_grad():
            self.values = functions(points)
        self.point_margin = self.ball_margin = self._margins(self.values).amin(dim=1)
        self.ratio = torch.zeros_like(self.point_margin)

    def climb(self, scale: float, objective: int, generator: KeyedGenerator) -> None:
        """Ascend one of the ratios (an objective below C) or margins from a random start."""
        points, length = self.points, scale * self.threat.epsilon
        start = points + length * generator.uniform_like(points, low=-1.0, high=1.0)
        step = STEP_RATIO * length
        self._heights(
            ascend(
                lambda x: self._heights(x)[:, objective].sum(),
                start,
                points,
                threat=self.threat,
                steps=STEPS,
                step_size=step,
            )
        )

    def _heights(self, inside: Tensor) -> Tensor:
        """Ratios, and f_y - f_j (0 for y), float64 (N, 2C), of perturbed points; the worst are kept."""
        values = self.functions(inside) + 0.0 * inside.sum()  # with a gradient, also where f has none
        away = (inside - self.points).flatten(1).abs().amax(dim=1)
        least = LEAST_DISTANCE * self.threat.epsilon
        ratios = self.threat.epsilon * (values - self.values).abs() / away.clamp(min=least)[:, None]
        margins = self._margins(values)
        self.ratio = torch.maximum(self.ratio, ratios.detach().amax(dim=1))
        self.ball_margin = torch.minimum(self.ball_margin, margins.detach().amin(dim=1))
        return torch.cat([ratios, -margins.where(margins.isfinite(), 0.0)], dim=1)

    def _margins(self, values: Tensor) -> Tensor:
        """Each class's value minus that of the true one, for which it is inf."""
        true = torch.nn.functional.one_hot(self.labels, values.shape[1]).bool()
        return (values - values.gather(1, self.labels[:, None])).masked_fill(true, math.inf)
