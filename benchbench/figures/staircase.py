"""The staircase figure: the function that each method fits to the training examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.contract import DataSource, Examples, RegressionDefense, Threat

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import nn


def staircase_figure(
    positions: NDArray[np.float64],
    curves: Mapping[str, NDArray[np.float64]],
    *,
    inputs: NDArray[np.float64],
    targets: NDArray[np.float64],
    title: str,
) -> Figure:
    """Draw each method's predictions (M,) at increasing positions (M,), over training data (N,)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(inputs, targets, s=12, color="black", alpha=0.5, zorder=3, label="training examples")
    for place, (label, predictions) in enumerate(curves.items()):
        width = 1.0 + 0.8 * (len(curves) - 1 - place)  # curves that coincide show as stripes
        axes.plot(positions, predictions, linewidth=width, label=label)
    axes.set(xlabel="x", ylabel="f(x)", title=title)
    axes.legend(fontsize="small", ncols=2)
    return figure


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
