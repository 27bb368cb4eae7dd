"""The staircase experiment from end to end: ten methods, two sizes (Tables 1 and 8 of the paper's arXiv version)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from benchbench.contract import DatasetSplits, DataSource, Threat
from benchbench.errors import UnknownNameError

if TYPE_CHECKING:
    from benchbench.builtin.architectures.spline import CubicSpline
    from benchbench.builtin.defenses.convex import Array
    from benchbench.builtin.defenses.regression import RegressionProblem
    from benchbench.evaluation.regression import RegressionMeasures

THREAT = Threat(epsilon=1 / 3, lower=float("-inf"), upper=float("inf"))
TEST_SIZES: Mapping[int, int] = MappingProxyType({40: 10_000, 30_000: 15_000})
MANY = 1000  # examples, above which a descent of LLR takes ten seconds
METHODS = (
    "natural",
    "gr",
    "gr-released",
    "llr",
    "llr-released",
    "at",
    "rst-0.5",
    "rst-1",
    "rst-2",
    "trades-1",
    "trades-3",
    "trades-6",
)


@dataclass(frozen=True, kw_only=True)
class StaircaseFit:
    """A fitted spline with the data that it was fitted to; `seconds` is the time of the solver."""

    method: str
    model: CubicSpline
    splits: DatasetSplits
    seconds: float


def fit_staircase(n_train: int, method: str) -> StaircaseFit:
    """Fit one of `METHODS` on the protocol's data of a size.

    Raises:
        UnknownNameError: for another method.
        TrainingError: the solver failed.
    """
    import torch

    from benchbench.builtin.architectures.spline import CubicSpline
    from benchbench.builtin.datasets.staircase import Staircase
    from benchbench.builtin.defenses.regression import pose

    solve = _solver(method)
    splits = Staircase(n_train=n_train, n_test=TEST_SIZES.get(n_train, 10_000)).load(
        DataSource(root=Path(), cache=Path())
    )
    model = CubicSpline()
    problem = pose(model, splits.train, radius=THREAT.epsilon)
    start = time.perf_counter()
    theta = solve(problem)
    seconds = time.perf_counter() - start
    with torch.no_grad():
        model.theta.copy_(torch.from_numpy(theta))
    return StaircaseFit(method=method, model=model, splits=splits, seconds=seconds)


def run_staircase(n_train: int, method: str) -> RegressionMeasures:
    """Fit one of `METHODS` on the protocol's data of a size (40 or 30,000 as published), and measure it.

    Raises:
        UnknownNameError: for another method.
        TrainingError: the solver failed.
    """
    from benchbench.evaluation.regression import evaluate_regression

    fit = fit_staircase(n_train, method)
    return evaluate_regression(fit.model, fit.splits, threat=THREAT)


def _solver(method: str) -> Callable[[RegressionProblem], Array]:
    from benchbench.builtin.defenses import regression
    from benchbench.builtin.defenses.regression_gr import solve_gr
    from benchbench.builtin.defenses.regression_llr import solve_llr

    solvers: dict[str, Callable[[RegressionProblem], Array]] = {
        "natural": regression.solve_natural,
        "gr": solve_gr,
        "gr-released": lambda problem: solve_gr(problem, variant="released"),
        "llr": lambda problem: solve_llr(problem, starts=4 if len(problem.targets) < MANY else 2),
        "llr-released": lambda problem: solve_llr(problem, variant="released"),
        "at": regression.solve_at,
        "rst-0.5": lambda problem: regression.solve_rst(problem, 0.5),
        "rst-1": lambda problem: regression.solve_rst(problem, 1.0),
        "rst-2": lambda problem: regression.solve_rst(problem, 2.0),
        "trades-1": lambda problem: regression.solve_trades(problem, 1.0),
        "trades-3": lambda problem: regression.solve_trades(problem, 3.0),
        "trades-6": lambda problem: regression.solve_trades(problem, 6.0),
    }
    if method not in solvers:
        raise UnknownNameError("staircase method", method, solvers)
    return solvers[method]
