"""The spiral figure (paper, Figure 3; Figure 2 of the arXiv version): f of Theorem 4.4 over the plane."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchbench.errors import OptionError
from benchbench.figures.theory_functions import Numbers, binary_function, separation_radius


@dataclass(frozen=True, kw_only=True)
class SpiralField:
    """f of Theorem 4.4 on a grid.

    Attributes:
        x: float64 (W,), first coordinates of the grid.
        y: float64 (H,), second coordinates of the grid.
        values: float64 (H, W); 0 on the decision boundary, positive where the positive class is predicted.
        points: float (N, 2), the support.
        labels: integers (N,), 0 negative and 1 positive.
        r: the radius used.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    values: NDArray[np.float64]
    points: Numbers
    labels: Numbers
    r: float


def evaluate_spiral(
    points: Numbers, labels: Numbers, *, r: float | None = None, resolution: int = 300, border: float = 1.0
) -> SpiralField:
    """Evaluate f over the rectangle that holds the points.

    Args:
        points: float (N, 2), for instance the training examples of the ``spiral`` dataset.
        labels: integers (N,), 0 negative and 1 positive.
        r: radius, above 0; None for the largest for which the points are r-separated.
        resolution: grid points per axis, at least 2.
        border: margin around the points.

    Raises:
        OptionError: for points that are not in the plane, a bad resolution, or an r that is not above 0.
        DataError: if a class has no points.
    """
    if points.ndim != 2 or points.shape[1] != 2 or resolution < 2:
        raise OptionError(f"expected points (N, 2) and a resolution of at least 2, got {points.shape} and {resolution}")
    chosen = separation_radius(points, labels) if r is None else r
    low, high = points.min(axis=0) - border, points.max(axis=0) + border
    x, y = (np.linspace(low[axis], high[axis], resolution, dtype=np.float64) for axis in range(2))
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    values = binary_function(grid, points[labels == 0], points[labels == 1], r=chosen)
    return SpiralField(x=x, y=y, values=values.reshape(resolution, resolution), points=points, labels=labels, r=chosen)


def save_spiral(field: SpiralField, *paths: Path) -> None:
    """Draw f, its zero line and the points; one file per path, in the format of its suffix (.png, .svg, .pdf)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 4.2), layout="constrained")
    axes = figure.add_subplot(aspect="equal", title=f"f(x) of Theorem 4.4, r = {field.r:.3g}")
    limit = float(np.percentile(np.abs(field.values), 95)) or 1.0  # the corners are far from both arms
    shades = axes.pcolormesh(field.x, field.y, field.values, cmap="RdBu", vmin=-limit, vmax=limit, rasterized=True)
    axes.contour(field.x, field.y, field.values, levels=[0.0], colors="black", linewidths=1.0)
    for label, colour, name in ((0, "darkred", "negative"), (1, "navy", "positive")):
        x, y = field.points[field.labels == label].T
        axes.scatter(x, y, s=4, color=colour, label=name)
    axes.legend(loc="upper right", fontsize="small")
    figure.colorbar(shades, label="f(x)", shrink=0.8)
    for path in paths:
        figure.savefig(path, dpi=200)
