"""The staircase figure: what each method fits through the training examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class FittedCurve:
    """One method's fit: `label`, and its float64 `predictions` (M,) at the figure's positions."""

    label: str
    predictions: NDArray[np.float64]


def staircase_figure(
    positions: NDArray[np.float64],
    curves: Sequence[FittedCurve],
    *,
    inputs: NDArray[np.float64],
    targets: NDArray[np.float64],
    title: str,
) -> Figure:
    """Draw the fits over the training examples. The caller saves the figure (``figure.savefig`` to PNG, SVG or PDF).

    Args:
        positions: (M,) where the curves are drawn, increasing.
        curves: one per method, drawn in this order.
        inputs: (N,) positions of the training examples.
        targets: (N,) their targets.
        title: of the figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(inputs, targets, s=12, color="black", alpha=0.5, zorder=3, label="training examples")
    for place, curve in enumerate(curves):
        width = 1.0 + 0.8 * (len(curves) - 1 - place)  # curves that coincide show as stripes
        axes.plot(positions, curve.predictions, linewidth=width, label=curve.label)
    axes.set(xlabel="x", ylabel="f(x)", title=title)
    axes.legend(fontsize="small", ncols=2)
    return figure
