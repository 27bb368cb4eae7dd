"""The regression solvers against lower bounds and searches that share nothing with them but the objective."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize, nnls

from benchbench.builtin.regression import problem as problems
from benchbench.builtin.regression.fitting import solve_at, solve_rst, solve_trades
from benchbench.builtin.regression.gradient import gr_objective, solve_gr
from benchbench.builtin.regression.linearity import llr_objective, solve_llr
from benchbench.builtin.regression.problem import (
    AFTER,
    AT,
    BEFORE,
    Array,
    RegressionProblem,
    natural_objective,
    pose,
    solve_natural,
)
from benchbench.builtin.regression.spline import CubicSpline
from benchbench.builtin.regression.staircase import Staircase
from benchbench.contract import DataSource, OptionError
from benchbench.errors import TrainingError, UsageError

RADIUS = 1 / 3


@pytest.fixture(scope="module")
def problem() -> RegressionProblem:
    splits = Staircase(n_train=40, n_test=10).load(DataSource(root=Path(), cache=Path()))
    return pose(CubicSpline(), splits.train, radius=RADIUS)


def worst_errors(problem: RegressionProblem, theta: Array) -> float:
    return float(np.square(problem.features @ theta - problem.targets).max(axis=0).sum())


def at_objective(problem: RegressionProblem, theta: Array) -> float:
    return worst_errors(problem, theta) + float(problem.strength * theta @ problem.penalty @ theta)


def rst_objective(problem: RegressionProblem, theta: Array, *, lam: float) -> float:
    return natural_objective(problem, theta) + lam * worst_errors(problem, theta)


def trades_objective(problem: RegressionProblem, theta: Array, *, beta: float) -> float:
    predictions = problem.features @ theta
    return natural_objective(problem, theta) + beta * float(np.square(predictions - predictions[AT]).max(axis=0).sum())


Solver = Callable[[RegressionProblem], Array]
Objective = Callable[[RegressionProblem, Array], float]
CASES: dict[str, tuple[Solver, Objective]] = {
    "natural": (solve_natural, natural_objective),
    "at": (solve_at, at_objective),
    "rst": (lambda p: solve_rst(p, 2.0), lambda p, t: rst_objective(p, t, lam=2.0)),
    "trades": (lambda p: solve_trades(p, 6.0), lambda p, t: trades_objective(p, t, beta=6.0)),
    "gr": (solve_gr, gr_objective),
    "gr-released": (
        lambda p: solve_gr(p, variant="released"),
        lambda p, t: gr_objective(p, t, variant="released"),
    ),
    "llr": (solve_llr, llr_objective),
    "llr-released": (
        lambda p: solve_llr(p, variant="released"),
        lambda p, t: llr_objective(p, t, variant="released"),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.sampled(2)
def test_no_search_from_scipy_gets_below_the_solution(name: str, problem: RegressionProblem) -> None:
    solve, objective = CASES[name]
    theta = solve(problem)
    whitened = problems.whiten(problem)
    reached = objective(problem, theta)
    for seed in range(3):
        start = theta + 0.02 * whitened.scale @ np.random.RandomState(seed).randn(len(theta))
        coordinates = np.linalg.solve(whitened.scale, start - whitened.natural)
        found = minimize(lambda z: objective(problem, whitened.theta(z)), coordinates, method="L-BFGS-B")
        assert found.fun > reached - 1e-10
        assert found.fun < objective(problem, start)  # it did search


def quadratic_lower_bound(
    problem: RegressionProblem, theta: Array, pieces: Array, targets: Array, *, clean: float, weight: float
) -> float:
    """The least value of clean * squared error + weight * sum of convex mixtures of the squared pieces + ridge.

    A mixture is never above the largest of its parts, so for any mixture this bounds the robust objective from below.
    The mixture taken balances the gradients at theta as well as it can.
    """
    at, y = problem.features[AT], problem.targets
    values = pieces @ theta - targets
    squares = values**2
    active = squares > squares.max(axis=0) - 1e-6
    points, examples = np.nonzero(active)
    gradients = 2 * weight * values[active][:, None] * pieces[active]
    ridge = problem.strength * problem.penalty
    fixed = 2 * clean * at.T @ (at @ theta - y) + 2 * ridge @ theta
    scale = problems.whiten(problem).scale
    one = 1e3 * (examples[None, :] == np.arange(len(y))[:, None])
    system = np.vstack([scale.T @ gradients.T, one])
    mixture, _ = nnls(system, np.concatenate([-scale.T @ fixed, 1e3 * np.ones(len(y))]), maxiter=10_000)
    mixture /= np.bincount(examples, mixture)[examples]
    parts = pieces[points, examples]
    hessian = clean * at.T @ at + weight * (parts.T * mixture) @ parts + ridge
    linear = clean * at.T @ y + weight * parts.T @ (mixture * targets[points, examples])
    constant = clean * y @ y + weight * mixture @ targets[points, examples] ** 2
    return float(constant - linear @ np.linalg.solve(hessian, linear))


def test_adversarial_training_reaches_a_lower_bound(problem: RegressionProblem) -> None:
    theta = solve_at(problem)
    targets = np.broadcast_to(problem.targets, (3, 40))
    bound = quadratic_lower_bound(problem, theta, problem.features, targets, clean=0.0, weight=1.0)
    assert at_objective(problem, theta) == pytest.approx(bound, abs=1e-8)


@pytest.mark.parametrize("lam", [0.5, 1.0, 2.0])
def test_robust_self_training_reaches_a_lower_bound(lam: float, problem: RegressionProblem) -> None:
    theta = solve_rst(problem, lam)
    targets = np.broadcast_to(problem.targets, (3, 40))
    bound = quadratic_lower_bound(problem, theta, problem.features, targets, clean=1.0, weight=lam)
    assert rst_objective(problem, theta, lam=lam) == pytest.approx(bound, abs=1e-8)


@pytest.mark.parametrize("beta", [1.0, 3.0, 6.0])
def test_trades_reaches_a_lower_bound(beta: float, problem: RegressionProblem) -> None:
    theta = solve_trades(problem, beta)
    moves = problem.features[[BEFORE, AFTER]] - problem.features[AT]
    bound = quadratic_lower_bound(problem, theta, moves, np.zeros((2, 40)), clean=1.0, weight=beta)
    assert trades_objective(problem, theta, beta=beta) == pytest.approx(bound, abs=1e-8)


def test_objectives_equal_loops_over_the_examples(problem: RegressionProblem) -> None:
    theta = np.random.RandomState(3).randn(34)
    clean = worst = moved = gradient = linear = 0.0
    for i, target in enumerate(problem.targets):
        before, at, after = (float(problem.features[j, i] @ theta) for j in range(3))
        slope = 2 * (at - target) * float(problem.slopes[i] @ theta)
        losses = [(value - target) ** 2 for value in (before, at, after)]
        clean += losses[1]
        worst += max(losses)
        moved += max((before - at) ** 2, (after - at) ** 2)
        gradient += slope**2
        linear += max(abs(losses[0] - losses[1] + RADIUS * slope), abs(losses[2] - losses[1] - RADIUS * slope))
    ridge = 0.01 * sum(float(d) ** 2 for d in np.diff(theta, n=2))
    assert natural_objective(problem, theta) == pytest.approx(clean + ridge)
    assert at_objective(problem, theta) == pytest.approx(worst + ridge)
    assert rst_objective(problem, theta, lam=0.5) == pytest.approx(clean + 0.5 * worst + ridge)
    assert trades_objective(problem, theta, beta=3.0) == pytest.approx(clean + 3 * moved + ridge)
    assert gr_objective(problem, theta, beta=0.1) == pytest.approx(clean + 0.1 * gradient + ridge)
    assert llr_objective(problem, theta, lam=0.2) == pytest.approx(clean + 0.2 * linear + ridge)


def test_weights_of_zero_give_natural_training(problem: RegressionProblem) -> None:
    natural = solve_natural(problem)
    for theta in (solve_rst(problem, 0.0), solve_trades(problem, 0.0)):
        np.testing.assert_allclose(problem.features[AT] @ theta, problem.features[AT] @ natural, atol=1e-5)


def test_llr_search_ends_at_one_minimum_from_each_start(problem: RegressionProblem) -> None:
    one = llr_objective(problem, solve_llr(problem, starts=1))
    four = llr_objective(problem, solve_llr(problem, starts=4))
    assert one == pytest.approx(four, abs=1e-9)


def test_released_llr_refuses_a_weight_that_is_not_convex(problem: RegressionProblem) -> None:
    with pytest.raises(TrainingError, match="not convex"):
        solve_llr(problem, lam=10.0, variant="released")


def test_radius_zero_is_refused() -> None:
    splits = Staircase(n_test=1).load(DataSource(root=Path(), cache=Path()))
    with pytest.raises(OptionError, match="radius"):
        pose(CubicSpline(), splits.train, radius=0.0)


def test_missing_solver_says_what_to_install(problem: RegressionProblem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(UsageError, match=r"benchbench-robustness\[staircase\]"):
        solve_at(problem)
