"""GR, gradient regularisation, for a model that is linear in its parameters.

With the loss L(x) = (f(x) - y)^2 and the residual r = f(x) - y, dL/dx = 2 r f'(x). Natural training plus:

- equation: beta * sum (dL/dx)^2. This is the paper's penalty, with the exact derivative of the spline instead of a finite
  difference; a quartic in theta, not convex;
- released: beta / 2 * sum |r| ||features(x)||, half the norm of the loss's gradient in theta instead of x; convex.

The published rows come from L-BFGS-B started at theta = 0, which stops early: on the natural objective, whose solution is
known, it ends with forty times the test error. The true minima of both variants lie close to natural training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from benchbench.builtin.options import Variant
from benchbench.builtin.regression.problem import (
    AT,
    Array,
    RegressionProblem,
    group,
    import_cvxpy,
    make_unknown,
    natural_objective,
    search,
    solve_natural,
    solve_program,
    squared_error,
    whiten,
)

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult


def gr_objective(
    problem: RegressionProblem, theta: Array, *, beta: float = 1e-4, variant: Variant = "equation"
) -> float:
    """What `solve_gr` minimises."""
    residuals = problem.features[AT] @ theta - problem.targets
    if variant == "equation":
        penalty = beta * np.square(2 * residuals * (problem.slopes @ theta)).sum()
    else:
        penalty = beta / 2 * (np.abs(residuals) * np.linalg.norm(problem.features[AT], axis=1)).sum()
    return natural_objective(problem, theta) + float(penalty)


def solve_gr(
    problem: RegressionProblem, *, beta: float = 1e-4, variant: Variant = "equation", starts: int = 4
) -> Array:
    """The minimiser (F,): global if released, for the equation the best local of several starts."""
    if variant == "released":
        return _solve_gr_released(problem, beta)
    from scipy.optimize import minimize

    # The annotations of one SciPy reject what those of another require.
    newton = cast("Callable[..., OptimizeResult]", minimize)

    whitened = whiten(problem)
    groups = group(problem)
    loss = _QuarticPenalty(
        value=groups.features[AT] @ whitened.scale,
        value_at_natural=groups.features[AT] @ whitened.natural - groups.means,
        slope=groups.slopes @ whitened.scale,
        slope_at_natural=groups.slopes @ whitened.natural,
        counts=groups.counts,
        spread=groups.spread,
        beta=beta,
    )
    options = {"gtol": 1e-9}

    def descend(start: Array) -> Array:
        found = newton(
            loss.objective, start, jac=loss.gradient, hess=loss.hessian, method="trust-exact", options=options
        )
        return np.asarray(found.x)

    best = search(problem, descend, lambda z: gr_objective(problem, whitened.theta(z), beta=beta), starts=starts)
    return whitened.theta(best)


@dataclass(frozen=True, kw_only=True)
class _QuarticPenalty:
    """|z|^2 + 4 beta * sum over positions of f'^2 (count (f - mean)^2 + spread), affine f, f'."""

    value: Array
    value_at_natural: Array
    slope: Array
    slope_at_natural: Array
    counts: Array
    spread: Array
    beta: float

    def _parts(self, z: Array) -> tuple[Array, Array]:
        return self.value @ z + self.value_at_natural, self.slope @ z + self.slope_at_natural

    def objective(self, z: Array) -> float:
        residual, slope = self._parts(z)
        return float(z @ z + 4 * self.beta * np.sum(slope**2 * (self.counts * residual**2 + self.spread)))

    def gradient(self, z: Array) -> Array:
        residual, slope = self._parts(z)
        by_residual = 2 * self.counts * slope**2 * residual
        by_slope = 2 * slope * (self.counts * residual**2 + self.spread)
        return np.asarray(2 * z + 4 * self.beta * (self.value.T @ by_residual + self.slope.T @ by_slope))

    def hessian(self, z: Array) -> Array:
        residual, slope = self._parts(z)
        twice_residual = (self.value.T * (2 * self.counts * slope**2)) @ self.value
        twice_slope = (self.slope.T * (2 * (self.counts * residual**2 + self.spread))) @ self.slope
        mixed = (self.value.T * (4 * self.counts * slope * residual)) @ self.slope
        return np.asarray(2 * np.eye(len(z)) + 4 * self.beta * (twice_residual + twice_slope + mixed + mixed.T))


def _solve_gr_released(problem: RegressionProblem, beta: float) -> Array:
    cp = import_cvxpy()
    groups = group(problem)
    unknown = make_unknown(solve_natural(problem))
    size = cp.Variable(len(problem.targets))
    residuals = (groups.features[AT] @ unknown.theta)[groups.member] - problem.targets
    weights = beta / 2 * np.linalg.norm(problem.features[AT], axis=1)
    constraints = [size >= residuals, size >= -residuals]
    return solve_program(problem, unknown, squared_error(groups, unknown.theta) + weights @ size, constraints)
