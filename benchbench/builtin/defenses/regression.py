"""Natural training, AT, RST and TRADES for a model that is linear in its parameters, solved exactly.

Every objective is a sum over the training examples plus strength * theta' P theta. All are convex; AT, RST and TRADES are
quadratic programs, because the largest squared error over the perturbation set is a square of the largest deviation,
and examples at the same position share everything but their target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchbench.builtin.defenses.convex import Array, Unknown, import_cvxpy, make_unknown, solve_to_optimality
from benchbench.builtin.untyped import Untyped
from benchbench.contract import Examples, OptionError, Threat

if TYPE_CHECKING:
    from benchbench.builtin.architectures.spline import CubicSpline

BEFORE, AT, AFTER = 0, 1, 2  # rows of `RegressionProblem.features`


@dataclass(frozen=True, kw_only=True)
class RegressionProblem:
    """A regularised linear regression with a perturbation set of three points. All arrays are float64.

    Attributes:
        features: (3, N, F), at x - radius, x, x + radius.
        slopes: (N, F), derivatives of the features at x.
        targets: (N,).
        penalty: P (F, F), symmetric positive semidefinite.
        strength: lambda, the weight of theta' P theta, above 0.
        radius: of the perturbation set, above 0.
    """

    features: Array
    slopes: Array
    targets: Array
    penalty: Array
    strength: float
    radius: float


@dataclass(frozen=True, kw_only=True)
class Groups:
    """The G distinct positions among the training examples.

    Attributes:
        features: (3, G, F), as in the problem.
        slopes: (G, F).
        member: (N,) the group of each example.
        counts: (G,) examples per group.
        means: (G,) their mean target.
        spread: (G,) their sum of squared deviations from that mean.
    """

    features: Array
    slopes: Array
    member: NDArray[np.intp]
    counts: Array
    means: Array
    spread: Array


def pose(model: CubicSpline, examples: Examples, *, radius: float) -> RegressionProblem:
    """Write down the training problem of a model with `features`, `slopes`, `penalty` and `ridge`.

    Raises:
        OptionError: for a radius that is not above 0.
    """
    if not radius > 0:
        raise OptionError(f"the perturbation set needs a radius above 0, got {radius!r}")
    inputs = examples.inputs.double()
    with torch.no_grad():
        features = torch.stack([model.features(inputs + shift * radius) for shift in (-1, 0, 1)])
        return RegressionProblem(
            features=features.cpu().numpy(),
            slopes=model.slopes(inputs).cpu().numpy(),
            targets=examples.labels.double().cpu().numpy(),
            penalty=model.penalty().cpu().numpy(),
            strength=model.ridge,
            radius=radius,
        )


def fit(
    model: nn.Module, examples: Examples, *, threat: Threat, solve: Callable[[RegressionProblem], Array]
) -> nn.Module:
    """Set a model's parameters `theta` to the solution of its training problem; the model is returned.

    Raises:
        OptionError: for a radius that is not above 0, or a model that is no spline.
        TrainingError: the solver failed.
    """
    if not hasattr(model, "theta"):
        raise OptionError(f"{type(model).__name__} is not linear in its parameters", hint="use cubic-spline")
    spline = cast("CubicSpline", model)
    theta = solve(pose(spline, examples, radius=threat.epsilon))
    with torch.no_grad():
        spline.theta.copy_(torch.from_numpy(theta))
    return model


def group(problem: RegressionProblem) -> Groups:
    """Join the examples at the same position."""
    rows = np.concatenate(problem.features, axis=1)
    _, first, member = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    member = member.reshape(-1)
    counts = np.bincount(member).astype(np.float64)
    means = np.bincount(member, problem.targets) / counts
    spread = np.bincount(member, (problem.targets - means[member]) ** 2).astype(np.float64)
    return Groups(
        features=problem.features[:, first],
        slopes=problem.slopes[first],
        member=member,
        counts=counts,
        means=means,
        spread=spread,
    )


def ridge_objective(problem: RegressionProblem, theta: Array) -> float:
    """strength * theta' P theta."""
    return float(problem.strength * theta @ problem.penalty @ theta)


def natural_objective(problem: RegressionProblem, theta: Array) -> float:
    """Sum of squared errors plus the ridge term."""
    residuals = problem.features[AT] @ theta - problem.targets
    return float(residuals @ residuals) + ridge_objective(problem, theta)


def rst_objective(problem: RegressionProblem, theta: Array, *, lam: float) -> float:
    """Natural plus lam times the sum of the largest squared errors over the perturbation set."""
    worst = np.square(problem.features @ theta - problem.targets).max(axis=0).sum()
    return natural_objective(problem, theta) + lam * float(worst)


def at_objective(problem: RegressionProblem, theta: Array) -> float:
    """Sum of the largest squared errors over the perturbation set, plus the ridge term."""
    worst = np.square(problem.features @ theta - problem.targets).max(axis=0).sum()
    return float(worst) + ridge_objective(problem, theta)


def trades_objective(problem: RegressionProblem, theta: Array, *, beta: float) -> float:
    """Natural plus beta times the sum of max (f(x') - f(x))^2."""
    predictions = problem.features @ theta
    moved = np.square(predictions - predictions[AT]).max(axis=0).sum()
    return natural_objective(problem, theta) + beta * float(moved)


def solve_natural(problem: RegressionProblem) -> Array:
    """The closed form pinv(F'F + strength P) F'y, (F,)."""
    features = problem.features[AT]
    normal = features.T @ features + problem.strength * problem.penalty
    return np.asarray(np.linalg.pinv(normal) @ (features.T @ problem.targets))


def solve_at(problem: RegressionProblem) -> Array:
    """Adversarial training: minimise `at_objective`, (F,).

    Raises:
        TrainingError: the solver failed.
    """
    unknown = make_unknown(solve_natural(problem))
    worst, constraints = _worst_squared_error(problem, group(problem), unknown.theta)
    return solve_program(problem, unknown, worst, constraints)


def solve_rst(problem: RegressionProblem, lam: float) -> Array:
    """Robust self-training on labelled data: minimise `rst_objective`, (F,).

    Args:
        lam: weight of the adversarial term, at least 0.

    Raises:
        TrainingError: the solver failed.
    """
    groups = group(problem)
    unknown = make_unknown(solve_natural(problem))
    worst, constraints = _worst_squared_error(problem, groups, unknown.theta)
    return solve_program(problem, unknown, squared_error(groups, unknown.theta) + lam * worst, constraints)


def solve_trades(problem: RegressionProblem, beta: float) -> Array:
    """TRADES with the squared distance between predictions: minimise `trades_objective`, (F,).

    Args:
        beta: weight of the stability term, at least 0.

    Raises:
        TrainingError: the solver failed.
    """
    cp = import_cvxpy()
    groups = group(problem)
    unknown = make_unknown(solve_natural(problem))
    largest_move = cp.Variable(len(groups.counts))
    moves = [(groups.features[side] - groups.features[AT]) @ unknown.theta for side in (BEFORE, AFTER)]
    constraints = [largest_move >= sign * move for move in moves for sign in (-1, 1)]
    moved = cp.sum_squares(cp.multiply(np.sqrt(groups.counts), largest_move))
    return solve_program(problem, unknown, squared_error(groups, unknown.theta) + beta * moved, constraints)


def squared_error(groups: Groups, theta: Untyped) -> Untyped:
    """The sum of squared errors as an expression in theta, less the part that no theta changes."""
    cp = import_cvxpy()
    return cp.sum_squares(cp.multiply(np.sqrt(groups.counts), groups.features[AT] @ theta - groups.means))


def _worst_squared_error(problem: RegressionProblem, groups: Groups, theta: Untyped) -> tuple[Untyped, list[Untyped]]:
    """Sum of the largest squared errors: with l <= f(x') <= u at a position, that is max(u - y, y - l)^2."""
    cp = import_cvxpy()
    upper, lower = cp.Variable(len(groups.counts)), cp.Variable(len(groups.counts))
    deviation = cp.Variable(len(problem.targets))
    constraints = [deviation >= upper[groups.member] - problem.targets]
    constraints += [deviation >= problem.targets - lower[groups.member]]
    for features in groups.features:
        constraints += [features @ theta <= upper, lower <= features @ theta]
    return cp.sum_squares(deviation), constraints


def solve_program(problem: RegressionProblem, unknown: Unknown, loss: Untyped, constraints: list[Untyped]) -> Array:
    """Minimise loss + ridge.

    Returns:
        The minimiser, (F,).

    Raises:
        TrainingError: the solver reached none of `TOLERANCES`.
    """
    cp = import_cvxpy()
    values, vectors = np.linalg.eigh(problem.strength * problem.penalty)
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    program = cp.Problem(cp.Minimize(loss + cp.sum_squares(root @ unknown.theta)), constraints)
    return solve_to_optimality(program, unknown)
