"""LLR, local linearity regularisation, for a model that is linear in its parameters.

With the loss L(x) = (f(x) - y)^2, dL/dx = 2 (f(x) - y) f'(x). The staircase leaves out the last term of the paper's loss.
Natural training plus, over d = -radius, +radius:

- equation: lam * sum max |L(x + d) - L(x) - d dL/dx|; not convex;
- released: lam * max of the sums without the absolute value, so that one d serves the whole training set, and with second
  differences of theta in the place of f'(x). It is the larger of two quadratics, convex for the published lam = 0.01.

The published row for n = 40 comes from BFGS started at theta = 0, which stops early; the row for n = 30,000 is the minimum
of the released objective.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchbench.builtin.options import Variant
from benchbench.builtin.regression.descent import descend_llr
from benchbench.builtin.regression.problem import (
    AFTER,
    AT,
    BEFORE,
    Array,
    RegressionProblem,
    natural_objective,
    search,
    whiten,
)
from benchbench.contract import TrainingError

STARTS, FEW_STARTS = 4, 2  # descents of the search
MANY_EXAMPLES = 1000  # above which one descent takes ten seconds


def llr_objective(
    problem: RegressionProblem, theta: Array, *, lam: float = 0.01, variant: Variant = "equation"
) -> float:
    """What `solve_llr` minimises."""
    predictions = problem.features @ theta
    losses = np.square(predictions - problem.targets)
    residuals = predictions[AT] - problem.targets
    slopes = problem.slopes if variant == "equation" else _released_slopes(problem)
    linear = 2 * problem.radius * residuals * (slopes @ theta)
    gaps = np.stack([losses[BEFORE] - losses[AT] + linear, losses[AFTER] - losses[AT] - linear])
    penalty = np.abs(gaps).max(axis=0).sum() if variant == "equation" else gaps.sum(axis=1).max()
    return natural_objective(problem, theta) + lam * float(penalty)


def solve_llr(
    problem: RegressionProblem, *, lam: float = 0.01, variant: Variant = "equation", starts: int | None = None
) -> Array:
    """The minimiser (F,): global if released, for the equation the best local of several starts.

    If the solver fails, or the released objective is not convex for this lam, this is a TrainingError.
    """
    if variant == "released":
        return _solve_llr_released(problem, lam)
    whitened = whiten(problem)
    starts = starts or (FEW_STARTS if len(problem.targets) > MANY_EXAMPLES else STARTS)

    def objective(z: Array) -> float:
        return llr_objective(problem, whitened.theta(z), lam=lam)

    best = search(
        problem, lambda start: descend_llr(problem, whitened, start, lam, objective), objective, starts=starts
    )
    return whitened.theta(best)


def _released_slopes(problem: RegressionProblem) -> Array:
    """The released code's f'(x), (N, F): -t[j-1] + 2 t[j] - t[j+1], j the largest spline at x."""
    differences = np.diff(np.eye(problem.penalty.shape[0]), axis=1)
    largest = problem.features[AT].argmax(axis=1)
    return np.asarray((differences @ differences.T)[largest])


@dataclass(frozen=True, kw_only=True)
class _Quadratic:
    """theta' hessian theta - 2 linear' theta + constant."""

    hessian: Array
    linear: Array
    constant: float

    def __call__(self, theta: Array) -> float:
        return float(theta @ self.hessian @ theta - 2 * self.linear @ theta + self.constant)


def _released_branch(problem: RegressionProblem, lam: float, side: int, sign: float) -> _Quadratic:
    """The released objective with d on one side of every example."""
    at, moved = problem.features[AT], problem.features[side]
    slopes = sign * problem.radius * _released_slopes(problem)
    cross = slopes.T @ at
    return _Quadratic(
        hessian=(1 - lam) * at.T @ at + lam * (moved.T @ moved + cross + cross.T) + problem.strength * problem.penalty,
        linear=((1 - lam) * at + lam * (moved + slopes)).T @ problem.targets,
        constant=float(problem.targets @ problem.targets),
    )


def _solve_llr_released(problem: RegressionProblem, lam: float) -> Array:
    """Minimise the larger of two convex quadratics: by duality, minimise a mixture of both."""
    from scipy.optimize import brentq

    before = _released_branch(problem, lam, BEFORE, 1.0)
    after = _released_branch(problem, lam, AFTER, -1.0)
    if min(np.linalg.eigvalsh(branch.hessian)[0] for branch in (before, after)) <= 0:
        raise TrainingError(f"the released LLR objective is not convex for lam = {lam}")

    def minimiser(weight: float) -> Array:
        hessian = (1 - weight) * before.hessian + weight * after.hessian
        return np.asarray(np.linalg.solve(hessian, (1 - weight) * before.linear + weight * after.linear))

    def imbalance(weight: float) -> float:  # the derivative of the concave dual function: it falls with the weight
        theta = minimiser(weight)
        return after(theta) - before(theta)

    if imbalance(0.0) <= 0:
        return minimiser(0.0)
    if imbalance(1.0) >= 0:
        return minimiser(1.0)
    return minimiser(float(brentq(imbalance, 0.0, 1.0, xtol=1e-15)))
