"""AT, RST and TRADES for a model that is linear in its parameters, solved exactly.

All three are convex quadratic programs, because the largest squared error over the perturbation set is the square of the
largest deviation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchbench.builtin.regression.convex import Array, import_cvxpy, make_unknown
from benchbench.builtin.regression.problem import (
    AFTER,
    AT,
    BEFORE,
    Groups,
    RegressionProblem,
    group,
    solve_natural,
    solve_program,
    squared_error,
)


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


def _worst_squared_error(problem: RegressionProblem, groups: Groups, theta: Any) -> tuple[Any, list[Any]]:
    """Sum of the largest squared errors: max(u - y, y - l)^2 if l <= f(x') <= u at a position."""
    cp = import_cvxpy()
    upper, lower = cp.Variable(len(groups.counts)), cp.Variable(len(groups.counts))
    deviation = cp.Variable(len(problem.targets))
    constraints = [deviation >= upper[groups.member] - problem.targets]
    constraints += [deviation >= problem.targets - lower[groups.member]]
    for features in groups.features:
        constraints += [features @ theta <= upper, lower <= features @ theta]
    return cp.sum_squares(deviation), constraints
