"""Fit a model linear in its parameters by each method, exactly or to the best minimum found.

AT, RST and TRADES are convex quadratic programs, because the largest squared error over the perturbation set is the square of
the largest deviation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np

from benchbench.builtin.deferred import nn, torch
from benchbench.builtin.regression.problem import (
    AFTER,
    AT,
    BEFORE,
    Array,
    Groups,
    RegressionProblem,
    group,
    import_cvxpy,
    make_unknown,
    pose,
    solve_natural,
    solve_program,
    squared_error,
)
from benchbench.contract import Examples, OptionError, Threat

if TYPE_CHECKING:
    from cvxpy import Constraint, Expression

    from benchbench.builtin.regression.spline import CubicSpline


def fit(model: nn.Module, examples: Examples, threat: Threat, solve: Callable[[RegressionProblem], Array]) -> nn.Module:
    """Set a spline's parameters `theta` to the solution of its training problem; return it.

    A radius that is not above 0, or a model that is no spline, is an OptionError; a solver that fails, a TrainingError.
    """
    if not hasattr(model, "theta"):
        raise OptionError(f"{type(model).__name__} is not linear in its parameters", hint="use cubic-spline")
    spline = cast("CubicSpline", model)
    theta = solve(pose(spline, examples, radius=threat.epsilon))
    with torch.no_grad():
        spline.theta.copy_(torch.from_numpy(theta))
    return model


def solve_at(problem: RegressionProblem) -> Array:
    """Adversarial training: the least sum of the largest squared errors, (F,)."""
    unknown = make_unknown(solve_natural(problem))
    worst, constraints = _worst_squared_error(problem, group(problem), unknown.theta)
    return solve_program(problem, unknown, worst, constraints)


def solve_rst(problem: RegressionProblem, lam: float) -> Array:
    """Robust self-training with labels: squared errors plus lam times the largest ones, (F,)."""
    groups = group(problem)
    unknown = make_unknown(solve_natural(problem))
    worst, constraints = _worst_squared_error(problem, groups, unknown.theta)
    return solve_program(problem, unknown, squared_error(groups, unknown.theta) + lam * worst, constraints)


def solve_trades(problem: RegressionProblem, beta: float) -> Array:
    """TRADES: squared errors plus beta times the largest squared prediction changes, (F,)."""
    cp = import_cvxpy()
    groups = group(problem)
    unknown = make_unknown(solve_natural(problem))
    largest_move = cp.Variable(len(groups.counts))
    moves = [(groups.features[side] - groups.features[AT]) @ unknown.theta for side in (BEFORE, AFTER)]
    constraints = [largest_move >= sign * move for move in moves for sign in (-1, 1)]
    moved = cp.sum_squares(cp.multiply(np.sqrt(groups.counts), largest_move))
    return solve_program(problem, unknown, squared_error(groups, unknown.theta) + beta * moved, constraints)


def _worst_squared_error(
    problem: RegressionProblem, groups: Groups, theta: Expression
) -> tuple[Expression, list[Constraint]]:
    """Sum of the largest squared errors: max(u - y, y - l)^2 if l <= f(x') <= u at a position."""
    cp = import_cvxpy()
    upper, lower = cp.Variable(len(groups.counts)), cp.Variable(len(groups.counts))
    deviation = cp.Variable(len(problem.targets))
    constraints = [deviation >= upper[groups.member] - problem.targets]
    constraints += [deviation >= problem.targets - lower[groups.member]]
    for features in groups.features:
        constraints += [features @ theta <= upper, lower <= features @ theta]
    return cp.sum_squares(deviation), constraints
