"""Convex programs in a vector of parameters, solved to the last digits that rounding allows."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchbench.contract import TrainingError, UsageError
from benchbench.version import install_command

Array = NDArray[np.float64]

# The objectives are nearly flat where there are no data, and four published decimals are read there: the tightest
# tolerance that rounding allows is used. Solving again around the solution found leaves smaller numbers to round.
TOLERANCES = (1e-12,) * 4 + (1e-11,) * 4 + (1e-10,) * 4 + (1e-9,) * 2


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """The parameters as a variable step from a known origin; cvxpy expressions, (F,) each."""

    origin: Any
    step: Any
    theta: Any


def import_cvxpy() -> Any:
    """The modelling layer of the convex programs, imported on first use.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module("cvxpy")
    except ImportError as error:
        raise UsageError("robust regression needs cvxpy and clarabel", hint=install_command("staircase")) from error


def make_unknown(origin: Array) -> Unknown:
    """Parameters (F,) to solve for, around a first guess."""
    cp = import_cvxpy()
    start, step = cp.Parameter(len(origin), value=origin), cp.Variable(len(origin))
    return Unknown(origin=start, step=step, theta=start + step)


def solve_to_optimality(program: Any, unknown: Unknown, *, tolerances: Sequence[float] = TOLERANCES) -> Array:
    """Solve a convex program with Clarabel, an interior-point solver, anew around what it found until it is optimal.

    Returns:
        The minimiser, (F,).

    Raises:
        TrainingError: the solver reached none of the tolerances.
    """
    cp = import_cvxpy()
    for tolerance in tolerances:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # cvxpy's note on a tolerance not reached: checked below
            program.solve(
                solver=cp.CLARABEL, tol_gap_abs=tolerance, tol_gap_rel=tolerance, tol_feas=tolerance, max_iter=500
            )
        if unknown.step.value is None:
            break
        if program.status == cp.OPTIMAL:
            return np.asarray(unknown.theta.value, dtype=np.float64)
        unknown.origin.value = unknown.theta.value
    raise TrainingError(f"the convex program ended as {program.status}")
