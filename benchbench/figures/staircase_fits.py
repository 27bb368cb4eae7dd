"""Splines fitted to the staircase, as shown in its figure (after the paper's arXiv version)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.contract import DataSource, Examples, RegressionDefense, Threat

if TYPE_CHECKING:
    from torch import nn

THREAT = Threat(epsilon=1 / 3, lower=float("-inf"), upper=float("inf"))


@dataclass(frozen=True, kw_only=True)
class StaircaseFits:
    """The training examples, and the models fitted to them by the label of their method."""

    examples: Examples
    models: Mapping[str, nn.Module]


def fit_staircase(n_train: int) -> StaircaseFits:
    """Fit natural training, AT, RST and TRADES to the protocol's staircase of a size."""
    from benchbench.builtin.defenses.adversarial import AdversarialTraining, RobustSelfTraining
    from benchbench.builtin.defenses.natural import Natural
    from benchbench.builtin.defenses.trades import Trades
    from benchbench.builtin.regression.spline import CubicSpline
    from benchbench.builtin.regression.staircase import Staircase

    methods: dict[str, RegressionDefense] = {
        "Natural": Natural(),
        "AT": AdversarialTraining(),
        "RST (lambda=2)": RobustSelfTraining(lam=2.0),
        "TRADES (beta=6)": Trades(beta=6.0),
    }
    examples = Staircase(n_train=n_train).load(DataSource(root=Path(), cache=Path())).train
    models = {label: method.fit_regression(CubicSpline(), examples, threat=THREAT) for label, method in methods.items()}
    return StaircaseFits(examples=examples, models=models)
