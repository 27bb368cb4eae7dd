"""Try to refute Theorem 4.2 and Lemma 4.1; it succeeds where they do not apply."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchbench.contract.seeds import KeyedGenerator
from benchbench.errors import DataError, OptionError
from benchbench.figures.spiral import distance_to

ClassFunctions = Callable[[Tensor], Tensor]
TOLERANCE = 1e-8  # of margins, which are of order one, in float64
RATIO_TOLERANCE = 1e-6  # of the ratio: rounding of f over the least distance
SCALES = (1.0, 0.1, 0.001)  # of the starts of the search, as fractions of r: far jumps and local slopes
STEP_RATIO = 0.2
ROWS = 256  # points whose distances to all others are held at once
LEAST_DISTANCE = 1e-6  # of x' from x, as a fraction of r: nearer, the ratio is rounding


@dataclass(frozen=True, kw_only=True)
class TheoremCheck:
    """The results; "worst" is over all points and perturbations tried: it proves only a failure.

    Attributes:
        r: the radius claimed.
        separation: least L-inf distance between points of different classes.
        worst_ratio: largest r * |f(x)_i - f(x')_i| / dist(x, x') over coordinates i; the theorem says at most 1.
        point_margin: smallest f(x)_j - f(x)_y over j != y at the points; the theorem says at least 2.
        ball_margin: the same over the balls of radius r; the theorem says at least 0. A tie (exactly 0) can occur at
            distance r only.
        lemma_counterexamples: points at which both premises of Lemma 4.1 hold and yet its conclusion does not.
        tried: perturbed points evaluated.
    """

    r: float
    separation: float
    worst_ratio: float
    point_margin: float
    ball_margin: float
    lemma_counterexamples: int
    tried: int

    @property
    def failures(self) -> tuple[str, ...]:
        """The statements that do not hold, in words; empty if the theorem was confirmed."""
        checks = {
            f"not {self.r}-separated: classes are {self.separation} apart, less than 2r": self.separation
            >= 2.0 * self.r * (1.0 - TOLERANCE),
            f"not 1/r-Lipschitz: ratio {self.worst_ratio} / r": self.worst_ratio <= 1.0 + RATIO_TOLERANCE,
            f"margin {self.point_margin} at a point, less than 2": self.point_margin >= 2.0 - TOLERANCE,
            f"not astute at r: margin {self.ball_margin} in a ball": self.ball_margin >= -TOLERANCE,
            f"Lemma 4.1 fails at {self.lemma_counterexamples} points": self.lemma_counterexamples == 0,
        }
        return tuple(failure for failure, holds in checks.items() if not holds)

    @property
    def holds(self) -> bool:
        """Whether no statement of the theorem was refuted."""
        return not self.failures


def check_theorem(
    functions: ClassFunctions,
    points: Tensor,
    labels: Tensor,
    *,
    r: float,
    generator: KeyedGenerator,
    restarts: int = 3,
    steps: int = 10,
) -> TheoremCheck:
    """Try to refute that f is 1/r-locally Lipschitz and argmin f astute at radius r.

    In the ball of each point it evaluates random perturbations at several scales, and from each of them sign-gradient ascent
    of the Lipschitz ratio of every coordinate and of f_y - f_j for every other class j.

    Args:
        functions: f, from float64 (N, ...) to (N, C), differentiable; the classifier is its **argmin** (equation 2). For
            a `DistanceClassifier` it is ``lambda x: -model(x)``.
        points: (N, ...), points of all classes.
        labels: int64 (N,) in [0, C).
        r: radius claimed, above 0. The theorem needs classes at least 2r apart.
        generator: source of the random starts, one row per point.
        restarts: random starts per scale.
        steps: ascent steps from each start and for each objective.

    Raises:
        OptionError: for an r that is not above 0.
        DataError: for fewer than two classes.
    """
    if not (math.isfinite(r) and r > 0):
        raise OptionError(f"r must be a finite number above 0, got {r!r}")
    points = points.detach().double()
    search = _Search(functions, points, labels, r)
    for restart in range(restarts):
        for scale in SCALES:
            for objective in range(2 * search.classes):
                noise = generator.child(restart, str(scale), objective).uniform_like(points, low=-1.0, high=1.0)
                search.ascend(points + scale * r * noise, objective, steps, STEP_RATIO * r * scale)
    premises = (search.ratio <= 1.0 + RATIO_TOLERANCE) & (search.point_margin >= 2.0 - TOLERANCE)
    return TheoremCheck(
        r=r,
        separation=separation(points, labels),
        worst_ratio=float(search.ratio.max()),
        point_margin=float(search.point_margin.min()),
        ball_margin=float(search.ball_margin.min()),
        lemma_counterexamples=int((premises & (search.ball_margin < -2 * RATIO_TOLERANCE)).sum()),
        tried=search.tried,
    )


def separation(points: Tensor, labels: Tensor) -> float:
    """Least L-inf distance between points (N, ...) of different classes.

    Raises:
        DataError: for fewer than two classes.
    """
    if bool((labels == labels[:1]).all()):
        raise DataError("separation needs points of at least two classes")
    flat, least = points.flatten(1), math.inf
    for start in range(0, len(flat), ROWS):
        rows = slice(start, start + ROWS)
        away = torch.cdist(flat[rows], flat, p=math.inf)
        least = min(least, float(away.masked_fill(labels[rows][:, None] == labels[None, :], math.inf).min()))
    return least


class _Search:
    """The worst found at each point: float64 (N,) ratio, ball_margin, fixed point_margin."""

    def __init__(self, functions: ClassFunctions, points: Tensor, labels: Tensor, r: float) -> None:
        self.functions, self.points, self.labels, self.r = functions, points, labels, r
        with torch.no_grad():
            self.values = functions(points)
        self.classes = int(self.values.shape[1])
        self.point_margin = self._margins(self.values).min(dim=1).values
        self.ball_margin = self.point_margin.clone()
        self.ratio = torch.zeros_like(self.point_margin)
        self.tried = 0

    def ascend(self, start: Tensor, objective: int, steps: int, step_size: float) -> None:
        """Climb from the start: objectives below C are coordinates' ratios, others classes' margins."""
        inside = self._project(start)
        for _ in range(steps):
            inside = inside.detach().requires_grad_(True)
            ratios, margins = self._evaluate(inside)
            self._note(ratios.detach(), margins.detach())
            height = ratios[:, objective] if objective < self.classes else -margins[:, objective - self.classes]
            height = height.where(height.isfinite(), 0.0)
            if not height.requires_grad:  # piecewise constant: only the random starts can find a jump
                return
            (slope,) = torch.autograd.grad(height.sum(), inside)
            inside = self._project(inside.detach() + step_size * slope.sign())
        with torch.no_grad():
            self._note(*self._evaluate(inside))

    def _project(self, candidates: Tensor) -> Tensor:
        return candidates.clamp(self.points - self.r, self.points + self.r)

    def _evaluate(self, inside: Tensor) -> tuple[Tensor, Tensor]:
        """Ratios (N, C), and margins (N, C) of each class over the true one, whose own is inf."""
        values = self.functions(inside)
        away = (inside - self.points).flatten(1).abs().amax(dim=1)
        ratios = self.r * (values - self.values).abs() / away.clamp(min=LEAST_DISTANCE * self.r)[:, None]
        return ratios, self._margins(values)

    def _margins(self, values: Tensor) -> Tensor:
        true = torch.nn.functional.one_hot(self.labels, values.shape[1]).bool()
        return (values - values.gather(1, self.labels[:, None])).masked_fill(true, math.inf)

    def _note(self, ratios: Tensor, margins: Tensor) -> None:
        self.ratio = torch.maximum(self.ratio, ratios.amax(dim=1))
        self.ball_margin = torch.minimum(self.ball_margin, margins.amin(dim=1))
        self.tried += len(ratios)


def class_functions(
    points: NDArray[Any], supports: NDArray[Any], labels: NDArray[Any], *, classes: int, r: float
) -> NDArray[np.float64]:
    """Equation (1), in L-inf: f(x) = (dist(x, X_1), ..., dist(x, X_C)) / r.

    Args:
        points: float (N, D), where to evaluate.
        supports: float (M, D), points of all classes.
        labels: integers (M,) in [0, classes); every class occurs.
        classes: number of classes C.
        r: above 0; the classes are r-separated when at least 2r apart.

    Returns:
        float64 (N, C), at least 0; its argmin is the classifier of equation (2).

    Raises:
        OptionError: for an r that is not above 0.
        DataError: for a class without points.
    """
    if not (np.isfinite(r) and r > 0):
        raise OptionError(f"r must be a finite number above 0, got {r!r}")
    return np.stack([distance_to(points, supports[labels == label]) for label in range(classes)], axis=1) / r
