"""The regression problem of all methods, its natural solution, programs around its ridge.

Every objective is a sum over the training examples plus strength * theta' P theta.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from benchbench.builtin.deferred import torch
from benchbench.contract import Examples, OptionError, TrainingError, UsageError
from benchbench.version import install_command

if TYPE_CHECKING:
    from cvxpy import Constraint, Expression, Parameter, Variable

    from benchbench.builtin.regression.spline import CubicSpline

Array = NDArray[np.float64]

# The objectives are nearly flat where there are no data, yet the published tables show four decimals there. Each tolerance is
# tried several times, because a program around the last solution has smaller numbers to round.
TOLERANCES = (1e-12,) * 4 + (1e-11,) * 4 + (1e-10,) * 4 + (1e-9,) * 2


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """Parameters theta (F,) in cvxpy's expressions, origin plus step; only the step is variable."""

    origin: Parameter
    step: Variable
    theta: Expression


class Program(Protocol):
    """A problem of cvxpy, which does not annotate how it is solved."""

    status: str

    def solve(self, **options: object) -> object:
        """Find the values of its variables."""
        ...


def import_cvxpy() -> ModuleType:
    """cvxpy, imported on first use; UsageError if it is not installed."""
    try:
        return importlib.import_module("cvxpy")
    except ImportError as error:
        raise UsageError("robust regression needs cvxpy and clarabel", hint=install_command("staircase")) from error


def make_unknown(origin: Array) -> Unknown:
    """Parameters (F,) to solve for, around a first guess of them."""
    cp = import_cvxpy()
    start, step = cp.Parameter(len(origin), value=origin), cp.Variable(len(origin))
    return Unknown(origin=start, step=step, theta=start + step)


def solve_to_optimality(program: Program, unknown: Unknown, *, tolerances: Sequence[float] = TOLERANCES) -> Array:
    """The minimiser (F,) by the interior-point solver Clarabel, restarted around each solution.

    If it reaches none of the tolerances, this is a TrainingError.
    """
    cp = import_cvxpy()
    for tolerance in tolerances:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # cvxpy warns of a tolerance not reached: checked below
            program.solve(
                solver=cp.CLARABEL, tol_gap_abs=tolerance, tol_gap_rel=tolerance, tol_feas=tolerance, max_iter=500
            )
        if unknown.step.value is None:
            break
        if program.status == cp.OPTIMAL:
            return np.asarray(unknown.theta.value, dtype=np.float64)
        unknown.origin.value = unknown.theta.value
    raise TrainingError(f"the convex program ended as {program.status}")


BEFORE, AT, AFTER = 0, 1, 2  # rows of `RegressionProblem.features`


@dataclass(frozen=True, kw_only=True)
class RegressionProblem:
    """Regularised linear regression with a perturbation set of three points; arrays are float64."""

    features: Array  # (3, N, F), at x - radius, x, x + radius
    slopes: Array  # (N, F), derivatives of the features at x
    targets: Array  # (N,)
    penalty: Array  # P (F, F), symmetric positive semidefinite
    strength: float  # the weight of theta' P theta, above 0
    radius: float  # of the perturbation set, above 0


@dataclass(frozen=True, kw_only=True)
class Groups:
    """The G distinct positions among the training examples."""

    features: Array  # (3, G, F), as in the problem
    slopes: Array  # (G, F)
    member: NDArray[np.intp]  # (N,), the group of each example
    counts: Array  # (G,), examples per group
    means: Array  # (G,), mean target of each group
    spread: Array  # (G,), sum of squared deviations from that mean


def pose(model: CubicSpline, examples: Examples, *, radius: float) -> RegressionProblem:
    """The training problem of a spline; OptionError for a radius that is not above 0."""
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


def group(problem: RegressionProblem) -> Groups:
    """Join the examples at the same position: they share everything but their target."""
    rows = np.concatenate(problem.features, axis=1)
    _, first, member = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    member = member.reshape(-1)
    counts = np.bincount(member).astype(np.float64)
    means = np.bincount(member, problem.targets) / counts
    return Groups(
        features=problem.features[:, first],
        slopes=problem.slopes[first],
        member=member,
        counts=counts,
        means=means,
        spread=np.bincount(member, (problem.targets - means[member]) ** 2).astype(np.float64),
    )


def natural_objective(problem: RegressionProblem, theta: Array) -> float:
    """Sum of squared errors plus the ridge."""
    residuals = problem.features[AT] @ theta - problem.targets
    return float(residuals @ residuals) + float(problem.strength * theta @ problem.penalty @ theta)


def solve_natural(problem: RegressionProblem) -> Array:
    """The closed form pinv(F'F + strength P) F'y, (F,)."""
    features = problem.features[AT]
    normal = features.T @ features + problem.strength * problem.penalty
    return np.asarray(np.linalg.pinv(normal) @ (features.T @ problem.targets))


def squared_error(groups: Groups, theta: Expression) -> Expression:
    """Sum of squared errors as an expression in theta, without the part that no theta changes."""
    cp = import_cvxpy()
    error: Expression = cp.sum_squares(cp.multiply(np.sqrt(groups.counts), groups.features[AT] @ theta - groups.means))
    return error


def solve_program(
    problem: RegressionProblem, unknown: Unknown, loss: Expression, constraints: list[Constraint]
) -> Array:
    """The minimiser (F,) of loss plus ridge; TrainingError if the solver reaches no tolerance."""
    cp = import_cvxpy()
    values, vectors = np.linalg.eigh(problem.strength * problem.penalty)
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    program = cp.Problem(cp.Minimize(loss + cp.sum_squares(root @ unknown.theta)), constraints)
    return solve_to_optimality(program, unknown)


@dataclass(frozen=True, kw_only=True)
class Whitened:
    """Coordinates z: theta = natural + scale z; the natural objective is its minimum plus |z|^2."""

    natural: Array
    scale: Array

    def theta(self, z: Array) -> Array:
        """Parameters (F,) of coordinates (F,)."""
        return np.asarray(self.natural + self.scale @ z)


def whiten(problem: RegressionProblem) -> Whitened:
    """Coordinates that need no preconditioning: the natural objective is round there."""
    features = problem.features[AT]
    values, vectors = np.linalg.eigh(features.T @ features + problem.strength * problem.penalty)
    return Whitened(natural=solve_natural(problem), scale=vectors / np.sqrt(values))


def search(
    problem: RegressionProblem, descend: Callable[[Array], Array], objective: Callable[[Array], float], *, starts: int
) -> Array:
    """The best z (F,) of descents from the natural solution and from random points around it.

    The penalty is never negative. So a global minimum lies within the sphere |z|^2 = objective of the first solution minus
    the minimum of the natural objective. The other descents start on that sphere.
    """
    size = problem.penalty.shape[0]
    first = descend(np.zeros(size))
    excess = objective(first) - natural_objective(problem, solve_natural(problem))
    draws = np.random.RandomState(0).randn(starts - 1, size)
    sphere = np.sqrt(max(excess, 0.0)) * draws / np.linalg.norm(draws, axis=1, keepdims=True)
    return min([first, *(descend(start) for start in sphere)], key=objective)
