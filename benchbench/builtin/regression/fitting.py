"""Fit a model linear in its parameters by each method, exactly or to the best minimum found."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from benchbench.builtin.options import Variant
from benchbench.builtin.regression import convex_methods
from benchbench.builtin.regression.convex import Array
from benchbench.builtin.regression.gradient import solve_gr
from benchbench.builtin.regression.linearity import solve_llr
from benchbench.builtin.regression.problem import RegressionProblem, pose, solve_natural
from benchbench.contract import Examples, OptionError, Threat

if TYPE_CHECKING:
    from benchbench.builtin.regression.spline import CubicSpline

STARTS, FEW_STARTS = 4, 2  # descents of LLR's search
MANY_EXAMPLES = 1000  # above which one descent takes ten seconds


def fit_natural(model: nn.Module, examples: Examples, threat: Threat) -> nn.Module:
    """Least squares with the model's ridge, in closed form."""
    return _fit(model, examples, threat, solve_natural)


def fit_at(model: nn.Module, examples: Examples, threat: Threat) -> nn.Module:
    """Least sum of the largest squared errors over {x - epsilon, x, x + epsilon}, exactly."""
    return _fit(model, examples, threat, convex_methods.solve_at)


def fit_rst(model: nn.Module, examples: Examples, threat: Threat, *, lam: float) -> nn.Module:
    """Squared errors plus lam times the largest over {x - epsilon, x, x + epsilon}, exactly."""
    return _fit(model, examples, threat, lambda problem: convex_methods.solve_rst(problem, lam))


def fit_trades(model: nn.Module, examples: Examples, threat: Threat, *, beta: float) -> nn.Module:
    """Squared errors plus beta times the largest (f(x +- epsilon) - f(x))^2, solved exactly."""
    return _fit(model, examples, threat, lambda problem: convex_methods.solve_trades(problem, beta))


def fit_gr(model: nn.Module, examples: Examples, threat: Threat, *, beta: float, variant: Variant) -> nn.Module:
    """Gradient regularisation with the exact derivative of the spline; the paper's beta is 1e-4."""
    return _fit(model, examples, threat, lambda problem: solve_gr(problem, beta=beta, variant=variant))


def fit_llr(model: nn.Module, examples: Examples, threat: Threat, *, lam: float, variant: Variant) -> nn.Module:
    """Local linearity regularisation over d = -epsilon, +epsilon; the paper's lam is 0.01."""
    starts = FEW_STARTS if len(examples) > MANY_EXAMPLES else STARTS
    return _fit(model, examples, threat, lambda problem: solve_llr(problem, lam=lam, variant=variant, starts=starts))


def _fit(
    model: nn.Module, examples: Examples, threat: Threat, solve: Callable[[RegressionProblem], Array]
) -> nn.Module:
    """Set a spline's parameters `theta` to the solution of its training problem; return it.

    Raises:
        OptionError: the radius is not above 0, or the model is no spline.
        TrainingError: the solver failed.
    """
    if not hasattr(model, "theta"):
        raise OptionError(f"{type(model).__name__} is not linear in its parameters", hint="use cubic-spline")
    spline = cast("CubicSpline", model)
    theta = solve(pose(spline, examples, radius=threat.epsilon))
    with torch.no_grad():
        spline.theta.copy_(torch.from_numpy(theta))
    return model
