"""Search for the minimum of natural training plus a penalty that is not convex."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchbench.builtin.regression.convex import Array
from benchbench.builtin.regression.problem import AT, RegressionProblem, natural_objective, solve_natural


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
    problem: RegressionProblem,
    descend: Callable[[Array], Array],
    objective: Callable[[Array], float],
    *,
    starts: int,
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
