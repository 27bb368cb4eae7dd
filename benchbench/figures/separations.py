"""Separation figures: histograms (paper: Figures 2, 5, 8), images of closest pairs (6, 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchbench.errors import OptionError
from benchbench.separations import Pair, Separation

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def histogram_figure(separations: Mapping[str, Separation], *, title: str = "") -> Figure:
    """Draw histograms of a dataset, named in the legend, with 2 * epsilon where it is known."""
    if not separations:
        raise OptionError("a histogram needs at least one separation")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 3.0), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel="L∞ distance to the nearest example of another class")
    axes.set_ylabel("share of examples")
    for place, (name, separation) in enumerate(separations.items()):
        shares = np.array(separation.histogram) / separation.examples
        colour, dashed = f"C{place}", "--" if place % 2 else "-"  # train and test often coincide: both must show
        axes.stairs(shares, separation.edges, fill=True, alpha=0.15, color=colour)
        label = f"{name} (min {separation.minimum:.3f})"
        axes.stairs(shares, separation.edges, color=colour, linestyle=dashed, linewidth=1.5, label=label)
    for epsilon in sorted({part.epsilon for part in separations.values() if part.epsilon is not None}):
        axes.axvline(2.0 * epsilon, color="black", linestyle=":", label=f"2ε = {2.0 * epsilon:.3g}")
    axes.legend(fontsize="small")
    return figure


def pairs_figure(
    pairs: Sequence[Pair], queries: NDArray[np.uint8], references: NDArray[np.uint8], *, classes: Sequence[str] = ()
) -> Figure:
    """Draw pairs of images, one pair per column: the query above, its neighbour below.

    Takes uint8 images (N, C, H, W) with 1 or 3 channels: the split of the queries, and the whole training split. Classes
    without names are shown as numbers.
    """
    if not pairs or queries.ndim != 4 or queries.shape[1] not in (1, 3):
        raise OptionError(f"expected pairs of images (N, 1 or 3, H, W), got {len(pairs)} pairs of {queries.shape}")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.3 * len(pairs), 3.2), layout="constrained")
    grid = figure.subplots(2, len(pairs), squeeze=False)
    for column, pair in zip(grid.T, pairs):
        sides = ((queries[pair.query], pair.query_label), (references[pair.reference], pair.reference_label))
        for axes, (image, label) in zip(column, sides):
            axes.imshow(image[0] if len(image) == 1 else image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255)
            axes.set_title(classes[label] if classes else str(label), fontsize="small")
            axes.set_axis_off()
        column[1].text(0.5, -0.15, f"{pair.distance:.3f}", transform=column[1].transAxes, ha="center", fontsize="small")
    return figure
