"""The staircase experiment from end to end: ten methods, two sizes (Tables 1 and 8 of the paper's arXiv version)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from benchbench.contract import DatasetSplits, DataSource, RegressionDefense, Threat
from benchbench.contract.evaluation import RegressionMetric
from benchbench.errors import UnknownNameError

if TYPE_CHECKING:
    from benchbench.builtin.architectures.spline import CubicSpline

THREAT = Threat(epsilon=1 / 3, lower=float("-inf"), upper=float("inf"))
TEST_SIZES: Mapping[int, int] = MappingProxyType({40: 10_000, 30_000: 15_000})
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


@dataclass(frozen=True, kw_only=True)
class StaircaseMeasures:
    """What is measured, in squared or plain units of the target; gaps are test minus train."""

    train_mse: float
    test_mse: float
    adv_train_mse: float
    adv_test_mse: float
    test_lipschitz: float
    gap: float
    adv_gap: float


def fit_staircase(n_train: int, method: str) -> StaircaseFit:
    """Fit one of `METHODS` on the protocol's data of a size.

    Raises:
        UnknownNameError: for another method.
        TrainingError: the solver failed.
    """
    from benchbench.builtin.architectures.spline import CubicSpline
    from benchbench.builtin.datasets.staircase import Staircase

    defense = _defense(method)
    n_test = TEST_SIZES.get(n_train, 10_000)
    splits = Staircase(n_train=n_train, n_test=n_test).load(DataSource(root=Path(), cache=Path()))
    model = CubicSpline()
    start = time.perf_counter()
    defense.fit_regression(model, splits.train, threat=THREAT)
    return StaircaseFit(method=method, model=model, splits=splits, seconds=time.perf_counter() - start)


def run_staircase(n_train: int, method: str) -> StaircaseMeasures:
    """Fit one of `METHODS` on the protocol's data of a size (40 or 30,000 as published), and measure it.

    Raises:
        UnknownNameError: for another method.
        TrainingError: the solver failed.
    """
    from benchbench.builtin.attacks.exact import Exact
    from benchbench.builtin.metrics.squared_error import SquaredError, TargetLipschitzness
    from benchbench.evaluation import evaluate_regression

    fit = fit_staircase(n_train, method)
    metrics: dict[str, RegressionMetric] = {"squared-error": SquaredError(), "target-lipschitz": TargetLipschitzness()}
    outcome = evaluate_regression(
        fit.model,
        train=fit.splits.train,
        test=fit.splits.test,
        threat=THREAT,
        attack=Exact(),
        attack_name="exact",
        metrics=metrics,
    )
    return StaircaseMeasures(**outcome.values)


def _defense(method: str) -> RegressionDefense:
    from benchbench.builtin.defenses.adversarial import AdversarialTraining, RobustSelfTraining
    from benchbench.builtin.defenses.gradient_regularisation import GradientRegularisation
    from benchbench.builtin.defenses.local_linearity import LocalLinearity
    from benchbench.builtin.defenses.natural import Natural
    from benchbench.builtin.defenses.trades import Trades

    defenses: dict[str, RegressionDefense] = {
        "natural": Natural(),
        "gr": GradientRegularisation(beta=1e-4),
        "gr-released": GradientRegularisation(beta=1e-4, variant="released"),
        "llr": LocalLinearity(lam=0.01, mu=0.0),
        "llr-released": LocalLinearity(lam=0.01, mu=0.0, variant="released"),
        "at": AdversarialTraining(),
        "rst-0.5": RobustSelfTraining(lam=0.5),
        "rst-1": RobustSelfTraining(lam=1.0),
        "rst-2": RobustSelfTraining(lam=2.0),
        "trades-1": Trades(beta=1.0),
        "trades-3": Trades(beta=3.0),
        "trades-6": Trades(beta=6.0),
    }
    if method not in defenses:
        raise UnknownNameError("staircase method", method, defenses)
    return defenses[method]
