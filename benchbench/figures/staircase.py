"""The staircase figure: the function that each method fits to the training examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


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
