"""Figures of the separation: histograms (paper: Figures 2, 5 and 8) and the closest pairs as images (Figures 6 and 7).

matplotlib belongs to the extra ``figures`` and is imported inside the functions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchbench.errors import OptionError
from benchbench.separations.report import Pair, Separation


def save_histogram(separations: dict[str, Separation], *paths: Path, title: str = "") -> None:
    """Draw the histograms of one dataset over each other, with 2 * epsilon marked where it is known.

    Args:
        separations: name in the legend (``train-train``, ``random labels``, ...) to separation; at least one.
        paths: files to write, in the format of their suffix (.png, .svg, .pdf).
        title: heading, for instance the dataset's name.

    Raises:
        OptionError: for no separation.
    """
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
    for path in paths:
        figure.savefig(path, dpi=200)


def save_pairs(
    pairs: Sequence[Pair], queries: NDArray[Any], references: NDArray[Any], *paths: Path, classes: Sequence[str] = ()
) -> None:
    """Draw pairs of images, one pair per column: the query above, its neighbour below.

    Args:
        pairs: for instance ``report.train_train.closest``; at least one.
        queries: uint8 (N, C, H, W), the split that was asked for, with 1 or 3 channels.
        references: uint8 (M, C, H, W), the whole training split.
        paths: files to write, in the format of their suffix (.png, .svg, .pdf).
        classes: name of each class; numbers by default.

    Raises:
        OptionError: for no pair, or data that are not images.
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
    for path in paths:
        figure.savefig(path, dpi=200)
