"""Convex programs in a parameter vector, solved to the tightest tolerance rounding allows."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchbench.builtin.untyped import Untyped
from benchbench.contract import TrainingError, UsageError
from benchbench.version import install_command

Array = NDArray[np.float64]

# The objectives are nearly flat where there are no data, yet the published tables show four decimals there. Each tolerance is
# tried several times, because a program around the last solution has smaller numbers to round.
TOLERANCES = (1e-12,) * 4 + (1e-11,) * 4 + (1e-10,) * 4 + (1e-9,) * 2


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """Parameters theta (F,) in cvxpy's expressions, origin plus step; only the step is variable."""

    origin: Untyped
    step: Untyped
    theta: Untyped


def import_cvxpy() -> Untyped:
    """cvxpy, imported on first use.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module("cvxpy")
    except ImportError as error:
        raise UsageError("robust regression needs cvxpy and clarabel", hint=install_command("staircase")) from error


def make_unknown(origin: Array) -> Unknown:
    """Parameters (F,) to solve for, around a first guess of them."""
    cp = import_cvxpy()
    start, step = cp.Parameter(len(origin), value=origin), cp.Variable(len(origin))
    return Unknown(origin=start, step=step, theta=start + step)


def solve_to_optimality(program: Untyped, unknown: Unknown, *, tolerances: Sequence[float] = TOLERANCES) -> Array:
    """Minimiser (F,) by the interior-point solver Clarabel, restarted around each solution.

    Raises:
        TrainingError: the solver reached none of the tolerances.
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
