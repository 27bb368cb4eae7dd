"""The spiral (paper, Figure 3; arXiv version, Figure 2): f of Theorem 4.4 over the plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchbench.errors import DataError, OptionError
from benchbench.separations import nearest_other_class

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARGIN = 1.0  # around the points


@dataclass(frozen=True, kw_only=True)
class SpiralField:
    """f of Theorem 4.4 on a grid."""

    x: NDArray[np.float64]  # (W,), first coordinates of the grid
    y: NDArray[np.float64]  # (H,), second coordinates of the grid
    values: NDArray[np.float64]  # (H, W); 0 on the decision boundary, positive where the positive class is predicted
    points: NDArray[np.float32]  # float (N, 2), the support
    labels: NDArray[np.int64]  # integers (N,), 0 negative and 1 positive
    r: float  # the radius used


def evaluate_spiral(points: NDArray[np.float32], labels: NDArray[np.int64], *, resolution: int = 300) -> SpiralField:
    """Evaluate f on a rectangle around points (N, 2), with the largest r that separates them."""
    if points.ndim != 2 or points.shape[1] != 2 or resolution < 2:
        raise OptionError(f"expected points (N, 2) and a resolution of at least 2, got {points.shape} and {resolution}")
    r = separation_radius(points, labels)
    low, high = points.min(axis=0) - _MARGIN, points.max(axis=0) + _MARGIN
    x, y = (np.linspace(low[axis], high[axis], resolution, dtype=np.float64) for axis in range(2))
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    values = binary_function(grid, points[labels == 0], points[labels == 1], r=r)
    return SpiralField(x=x, y=y, values=values.reshape(resolution, resolution), points=points, labels=labels, r=r)


def spiral_figure(field: SpiralField) -> Figure:
    """Draw f, its zero line and the points."""
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
    return figure


def binary_function(
    points: NDArray[np.floating], negatives: NDArray[np.floating], positives: NDArray[np.floating], *, r: float
) -> NDArray[np.float64]:
    """Theorem 4.4, in L-inf: f(x) = (dist(x, X-) - dist(x, X+)) / 2r; its sign classifies.

    Takes points float (N, D) and the supports of both classes, likewise; returns float64 (N,). On r-separated supports f is at
    least 1 on the positives and at most -1 on the negatives. A radius that is not above 0 is an OptionError, a class without
    points a DataError.
    """
    if not (np.isfinite(r) and r > 0):
        raise OptionError(f"r must be a finite number above 0, got {r!r}")
    return (distance_to(points, negatives) - distance_to(points, positives)) / (2.0 * r)


def separation_radius(supports: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The largest r of r-separated points (Definition 2): half the classes' least distance."""
    return float(nearest_other_class(supports, labels, supports, labels).scaled.min()) / 2.0


def distance_to(points: NDArray[np.floating], support: NDArray[np.floating]) -> NDArray[np.float64]:
    """L-inf distance of each point to the nearest point of a support."""
    if len(support) == 0:
        raise DataError("the distance to a class without points is not defined")
    return np.asarray(cKDTree(support).query(points, p=np.inf)[0], dtype=np.float64)
