"""Descent on LLR's equation: natural training plus lam * sum of |gaps| from linearity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchbench.builtin.regression.problem import (
    AFTER,
    AT,
    BEFORE,
    Array,
    Groups,
    RegressionProblem,
    Whitened,
    group,
    import_cvxpy,
    make_unknown,
    solve_to_optimality,
)

if TYPE_CHECKING:
    from cvxpy import Constraint

STEPS = 60
DECREASE = 1e-10  # relative; the descent ends at a step that promises less
TOLERANCES = (1e-11, 1e-10, 1e-9, 1e-8, 1e-7)


@dataclass(frozen=True, kw_only=True)
class _Gap:
    """L(x + d) - L(x) - d dL/dx at one d: a(z) + (y - mean) b(z), a quadratic, b affine in z."""

    moved: Array
    moved_at_natural: Array
    at: Array
    at_natural: Array
    step: Array
    step_at_natural: Array

    def linearise(self, z: Array) -> tuple[Array, Array]:
        """a at z (G,) and its derivative (G, F)."""
        moved = self.moved @ z + self.moved_at_natural
        at = self.at @ z + self.at_natural
        step = self.step @ z + self.step_at_natural
        value = moved**2 - at**2 - 2 * at * step
        slope = 2 * (moved[:, None] * self.moved - (at + step)[:, None] * self.at - at[:, None] * self.step)
        return value, slope

    def curvature(self, weights: Array) -> Array:
        """Second derivative (F, F) of the weighted sum of a over positions; weights (G,)."""
        half = (self.moved.T * weights) @ self.moved - (self.at.T * weights) @ (self.at + self.step)
        half -= (self.step.T * weights) @ self.at
        return np.asarray(half + half.T)

    def by_target(self) -> tuple[Array, Array]:
        """M (G, F) and c (G,) of b = M z + c."""
        constant = self.moved_at_natural - self.at_natural - self.step_at_natural
        return -2 * (self.moved - self.at - self.step), -2 * constant


def _gap(problem: RegressionProblem, groups: Groups, whitened: Whitened, side: int) -> _Gap:
    displacement = problem.radius if side == AFTER else -problem.radius
    moved, at, step = groups.features[side], groups.features[AT], displacement * groups.slopes
    return _Gap(
        moved=moved @ whitened.scale,
        moved_at_natural=moved @ whitened.natural - groups.means,
        at=at @ whitened.scale,
        at_natural=at @ whitened.natural - groups.means,
        step=step @ whitened.scale,
        step_at_natural=step @ whitened.natural,
    )


@dataclass(frozen=True, kw_only=True)
class _Step:
    """A descent step: its end, the predicted decrease, and the curvature for the next step."""

    z: Array
    decrease: float
    curvature: Array


def descend_llr(
    problem: RegressionProblem, whitened: Whitened, start: Array, lam: float, objective: Callable[[Array], float]
) -> Array:
    """Descend from z = start (F,) by sequential quadratic programming.

    Each convex program linearises the gaps; its multipliers give the next one the curvature that this drops. Damping
    shortens steps that fail. The descent ends at a stationary point, where the model predicts no decrease.
    """
    groups = group(problem)
    gaps = [_gap(problem, groups, whitened, side) for side in (BEFORE, AFTER)]
    z, value, damping = start, objective(start), 1e-3
    curvature = np.zeros((len(z), len(z)))
    for _ in range(STEPS):
        step = _step(problem, groups, gaps, z, lam=lam, curvature=_positive(curvature, damping))
        if step.decrease <= DECREASE * max(1.0, value):
            break
        reached = objective(step.z)
        if reached < value:
            z, value, damping, curvature = step.z, reached, damping / 8, step.curvature
        else:
            damping, curvature = damping * 8, step.curvature
    return z


def _positive(curvature: Array, damping: float) -> Array:
    """A factor R (F, F): R'R is the positive part of the curvature, plus damping."""
    values, vectors = np.linalg.eigh(curvature)
    return np.asarray(np.sqrt(np.maximum(values, 0.0) + damping)[:, None] * vectors.T)


def _step(
    problem: RegressionProblem, groups: Groups, gaps: list[_Gap], z: Array, *, lam: float, curvature: Array
) -> _Step:
    """Minimise |z'|^2 + lam * sum of largest linearised |gap| + |curvature (z' - z)|^2 / 2."""
    cp = import_cvxpy()
    unknown = make_unknown(z)
    largest = cp.Variable(len(problem.targets))
    deviations = problem.targets - groups.means[groups.member]
    now = np.zeros(len(deviations))
    definitions: list[Constraint] = []
    sides: list[tuple[Constraint, Constraint]] = []
    for gap in gaps:
        (value, slope), (rise, constant) = gap.linearise(z), gap.by_target()
        free, by_target = cp.Variable(len(value)), cp.Variable(len(value))
        definitions += [free == value + slope @ (unknown.theta - z), by_target == rise @ unknown.theta + constant]
        size = free[groups.member] + cp.multiply(deviations, by_target[groups.member])
        sides.append((largest >= size, largest >= -size))
        now = np.maximum(now, np.abs(value[groups.member] + deviations * (rise @ z + constant)[groups.member]))
    model = cp.sum_squares(unknown.theta) + lam * cp.sum(largest) + cp.sum_squares(curvature @ (unknown.theta - z)) / 2
    program = cp.Problem(cp.Minimize(model), [*definitions, *(constraint for side in sides for constraint in side)])
    found = solve_to_optimality(program, unknown, tolerances=TOLERANCES)
    return _Step(
        z=found,
        decrease=float(z @ z + lam * now.sum() - program.value),
        curvature=_multiplied_curvature(groups, gaps, sides),
    )


def _multiplied_curvature(groups: Groups, gaps: list[_Gap], sides: list[tuple[Constraint, Constraint]]) -> Array:
    """Second derivative (F, F) of the gaps weighted by the multipliers of their signs."""
    total = np.zeros(1)
    for gap, (above, below) in zip(gaps, sides):
        weights = np.bincount(groups.member, above.dual_value - below.dual_value).astype(np.float64)
        total = total + gap.curvature(weights)
    return total
