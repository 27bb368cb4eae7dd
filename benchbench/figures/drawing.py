"""Each figure by its name: where its data comes from, and the files that it becomes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from benchbench.atomic import storage_errors
from benchbench.contract import DataSource
from benchbench.errors import BenchbenchError, MissingDataError, UnknownNameError, UsageError
from benchbench.version import install_command

if TYPE_CHECKING:
    from benchbench.leaderboard.separations import MeasuredSeparation
    from benchbench.records import Row
    from benchbench.separations import Separation

FORMATS = ("png", "svg", "pdf")
FIGURES: Mapping[str, str] = MappingProxyType(
    {
        "separation": "histograms of the distance to the nearest example of another class (Figures 3 and 8)",
        "closest-pairs": "the closest pairs of images of different classes (Figures 6 and 7)",
        "spiral": "the function of Theorem 4.4 on the spiral (Figure 4; arXiv: Figure 2)",
        "staircase": "what each method fits through the staircase, 40 and 30,000 examples (arXiv version)",
        "lipschitz": "local Lipschitzness against adversarial accuracy, ours and published",
    }
)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What figures are drawn from.

    Attributes:
        rows: of a leaderboard, published ones included.
        separations: measured ones.
        data: where datasets are read, for the closest pairs and the spiral.
    """

    rows: Sequence[Row]
    separations: Sequence[MeasuredSeparation]
    data: DataSource


def draw(name: str, sources: Sources, folder: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Draw a figure.

    Args:
        name: one of `FIGURES`.
        sources: what it is drawn from.
        folder: where its files go; made when missing.
        formats: some of `FORMATS`.

    Returns:
        The files: one figure may be several, one per dataset or size.

    Raises:
        UnknownNameError: an unknown figure or format.
        UsageError: matplotlib is not installed, or nothing to draw was measured yet.
        StorageError: the folder cannot be written.
    """
    if name not in FIGURES:
        raise UnknownNameError("figure", name, FIGURES)
    for format in formats:
        if format not in FORMATS:
            raise UnknownNameError("format", format, FORMATS)
    if find_spec("matplotlib") is None:
        raise UsageError("figures need matplotlib", hint=install_command("figures"))
    written: list[Path] = []

    def files(stem: str) -> list[Path]:
        paths = [folder / f"{_safe(stem)}.{format}" for format in formats]
        written.extend(paths)
        return paths

    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _DRAWERS[name](sources, files)
    return written


Files = Callable[[str], list[Path]]


def _draw_separation(sources: Sources, files: Files) -> None:
    from benchbench.leaderboard.separations import OWN_LABELS, separation_label
    from benchbench.separations.figures import save_histogram

    for dataset, measured in _by_dataset(sources.separations).items():
        parts: dict[str, Separation] = {}
        for row in measured:
            suffix = "" if separation_label(row) == OWN_LABELS else f", {separation_label(row)}"
            train_train, test_train = row.separations
            parts |= {f"train-train{suffix}": train_train, f"test-train{suffix}": test_train}
        save_histogram(parts, *files(f"separation-{dataset}"), title=dataset)


def _draw_closest_pairs(sources: Sources, files: Files) -> None:
    from benchbench.data import load_dataset
    from benchbench.registry import load_registry
    from benchbench.separations.figures import save_pairs

    registry = load_registry()
    missing: list[BenchbenchError] = []
    drawn = 0
    originals = [
        row for found in _by_dataset(sources.separations).values() for row in found if row.labels == "original"
    ]
    for original in originals:
        dataset = original.dataset
        try:
            splits = load_dataset(registry, registry.resolve("dataset", dataset), sources.data).splits
        except (MissingDataError, UnknownNameError) as error:
            missing.append(error)
            continue
        drawn += 1
        train, test = splits.train.inputs.numpy(), splits.test.inputs.numpy()
        train_train, test_train = original.separations
        stem = "-without-".join([dataset, *(["-".join(map(str, original.excluded))] if original.excluded else [])])
        save_pairs(train_train.closest, train, train, *files(f"closest-pairs-train-{stem}"), classes=splits.classes)
        save_pairs(test_train.closest, test, train, *files(f"closest-pairs-test-{stem}"), classes=splits.classes)
    if missing and not drawn:
        raise missing[0]


def _draw_spiral(sources: Sources, files: Files) -> None:
    from benchbench.builtin.datasets.spiral import Spiral
    from benchbench.figures.spiral import evaluate_spiral, save_spiral

    train = Spiral(start=1.0).load(sources.data).train  # from t = 1 on the two supports are apart
    save_spiral(evaluate_spiral(train.inputs.numpy(), train.labels.numpy()), *files("spiral"))


def _draw_staircase(sources: Sources, files: Files) -> None:
    import numpy as np
    import torch

    from benchbench.figures.staircase import FittedCurve, staircase_figure
    from benchbench.figures.staircase_fits import fit_staircase

    positions = np.linspace(-1 / 3, 9 + 1 / 3, 600)
    for size in (40, 30_000):
        fits = {label: fit_staircase(size, method) for label, method in _STAIRCASE_METHODS.items()}
        with torch.no_grad():
            curves = [
                FittedCurve(label=label, predictions=fit.model(torch.from_numpy(positions)[:, None]).numpy())
                for label, fit in fits.items()
            ]
        train = fits["Natural"].splits.train
        figure = staircase_figure(
            positions,
            curves,
            inputs=train.inputs.numpy()[:, 0],
            targets=train.labels.numpy(),
            title=f"staircase, {size:,} training examples",
        )
        for path in files(f"staircase-{size}"):
            figure.savefig(path, dpi=200)


def _draw_lipschitz(sources: Sources, files: Files) -> None:
    from benchbench.figures.lipschitz import lipschitz_figure

    figure = lipschitz_figure(sources.rows)
    for path in files("lipschitz"):
        figure.savefig(path, dpi=200)


def _by_dataset(separations: Sequence[MeasuredSeparation]) -> dict[str, list[MeasuredSeparation]]:
    if not separations:
        raise UsageError(
            "no separation has been measured yet", hint="benchbench separation mnist --leaderboards leaderboards"
        )
    found: dict[str, list[MeasuredSeparation]] = {}
    for row in separations:
        found.setdefault(row.dataset, []).append(row)
    return found


def _safe(stem: str) -> str:
    """A file name of letters, digits, dots and hyphens."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", stem).strip("-")


_STAIRCASE_METHODS = {"Natural": "natural", "AT": "at", "RST (lambda=2)": "rst-2", "TRADES (beta=6)": "trades-6"}
_DRAWERS: Mapping[str, Callable[[Sources, Files], None]] = {
    "separation": _draw_separation,
    "closest-pairs": _draw_closest_pairs,
    "spiral": _draw_spiral,
    "staircase": _draw_staircase,
    "lipschitz": _draw_lipschitz,
}
