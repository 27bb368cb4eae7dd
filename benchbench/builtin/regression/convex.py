"""Convex programs in a parameter vector, solved to the tightest tolerance rounding allows."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchbench.contract import TrainingError, UsageError
from benchbench.version import install_command

if TYPE_CHECKING:
    from cvxpy import Expression, Parameter, Problem, Variable

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


def solve_to_optimality(program: Problem, unknown: Unknown, *, tolerances: Sequence[float] = TOLERANCES) -> Array:
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
