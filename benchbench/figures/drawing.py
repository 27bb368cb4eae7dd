"""Each figure by its name: where its data come from, and its files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from benchbench.atomic import write_atomically
from benchbench.contract import DataSource
from benchbench.errors import BenchbenchError, MissingDataError, UnknownNameError, UsageError
from benchbench.figures.points import Measured
from benchbench.leaderboard.names import PAPERS
from benchbench.version import install_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from benchbench.leaderboard.separations import MeasuredSeparation
    from benchbench.separations import Separation

FORMATS = ("png", "svg", "pdf")
FIGURES: Mapping[str, str] = MappingProxyType(
    {
        "separation": "histograms of the distance to the nearest example of another class (Figures 3 and 8)",
        "closest-pairs": "the closest pairs of images of different classes (Figures 6 and 7)",
        "spiral": "the function of Theorem 4.4 on the spiral (Figure 4; arXiv: Figure 2)",
        "staircase": "what each method fits through the staircase, 40 and 30,000 examples (arXiv version)",
        "epsilon": "accuracy against the radius, with bands over seeds",
        "perturbations": "upper bounds of minimal perturbations: their distribution over test examples",
        "tradeoff": "accuracy under attack against accuracy, ours and published",
        "lipschitz": "accuracy under attack against local Lipschitzness, ours and published",
        "epochs": "what training recorded after each epoch",
    }
)


@dataclass(frozen=True, kw_only=True)
class Sources(Measured):
    """Data of figures: leaderboard rows, also published, measured separations, datasets, ..."""

    separations: Sequence[MeasuredSeparation]
    data: DataSource


def draw(name: str, sources: Sources, folder: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Draw one of `FIGURES` in some of `FORMATS`; returns its files, one or several.

    The folder is created if missing. It is a UsageError if matplotlib is not installed, or nothing to draw was measured yet;
    the name or a format may be an UnknownNameError.
    """
    if name not in FIGURES:
        raise UnknownNameError("figure", name, FIGURES)
    for format in formats:
        if format not in FORMATS:
            raise UnknownNameError("format", format, FORMATS)
    for library in ("matplotlib", "altair", "vl_convert"):
        if find_spec(library) is None:
            raise UsageError(f"figures need {library}", hint=install_command("figures"))
    written: list[Path] = []
    for stem, figure in _DRAWERS[name](sources):
        safe = re.sub(r"[^A-Za-z0-9.]+", "-", stem).strip("-")  # dataset names may contain any character
        for format in formats:
            written.append(folder / f"{safe}.{format}")
            write_atomically(written[-1], partial(_save, figure, format))
    return written


def figures_of(sources: Sources) -> tuple[str, ...]:
    """The figures of a suite's rows, and the papers' if it compares with them."""
    datasets = {row.dataset for row in sources.rows}
    reproduces = any(row.published_source in PAPERS for row in sources.rows)
    others = {"spiral": reproduces or "spiral" in datasets, "staircase": "staircase" in datasets}
    others |= dict.fromkeys(("separation", "closest-pairs"), bool(_separations(sources)))
    return tuple(name for name in FIGURES if others.get(name, True))


def _separations(sources: Sources) -> list[MeasuredSeparation]:
    """The separations of the suite's datasets; without rows, all."""
    datasets = {row.dataset for row in sources.rows}
    return [one for one in sources.separations if not datasets or one.dataset.partition(" ")[0] in datasets]


def _save(figure: Figure | dict[str, object], format: str, path: Path) -> None:
    if not isinstance(figure, dict):
        figure.savefig(path, format=format, dpi=200)
        return
    import vl_convert

    if format == "svg":
        path.write_text(vl_convert.vegalite_to_svg(figure), encoding="utf-8")
    elif format == "pdf":
        path.write_bytes(vl_convert.vegalite_to_pdf(figure))
    else:
        path.write_bytes(vl_convert.vegalite_to_png(figure, scale=2))


Figures = Iterator[tuple[str, "Figure | dict[str, object]"]]  # with the stem of its file's name


def _draw_separation(sources: Sources) -> Figures:
    from benchbench.figures.separations import histogram_figure
    from benchbench.leaderboard.separations import OWN_LABELS, separation_label

    for dataset, measured in _by_dataset(_separations(sources)).items():
        parts: dict[str, Separation] = {}
        for row in measured:
            suffix = "" if separation_label(row) == OWN_LABELS else f", {separation_label(row)}"
            train_train, test_train = row.separations
            parts |= {f"train-train{suffix}": train_train, f"test-train{suffix}": test_train}
        yield f"separation-{dataset}", histogram_figure(parts, title=dataset)


def _draw_closest_pairs(sources: Sources) -> Figures:
    from benchbench.data import load_dataset
    from benchbench.figures.separations import pairs_figure
    from benchbench.registry import load_registry

    registry = load_registry()
    missing: list[BenchbenchError] = []
    drawn = 0
    separations = (row for found in _by_dataset(_separations(sources)).values() for row in found)
    for original in (row for row in separations if row.labels == "original"):
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
        yield f"closest-pairs-train-{stem}", pairs_figure(train_train.closest, train, train, classes=splits.classes)
        yield f"closest-pairs-test-{stem}", pairs_figure(test_train.closest, test, train, classes=splits.classes)
    if missing and not drawn:
        raise missing[0]


def _draw_spiral(sources: Sources) -> Figures:
    from benchbench.builtin.datasets.spiral import Spiral
    from benchbench.figures.spiral import evaluate_spiral, spiral_figure

    train = Spiral(start=1.0).load(sources.data).train  # from t = 1 on, the two supports are apart
    yield "spiral", spiral_figure(evaluate_spiral(train.inputs.numpy(), train.labels.numpy()))


def _draw_staircase(sources: Sources) -> Figures:
    import numpy as np
    import torch

    from benchbench.figures.staircase import fit_staircase, staircase_figure

    positions = np.linspace(-1 / 3, 9 + 1 / 3, 600)
    for size in (40, 30_000):
        fits = fit_staircase(size)
        with torch.no_grad():
            drawn_at = torch.from_numpy(positions)[:, None]
            figure = staircase_figure(
                positions,
                {label: model(drawn_at).numpy() for label, model in fits.models.items()},
                inputs=fits.examples.inputs.numpy()[:, 0],
                targets=fits.examples.labels.numpy(),
                title=f"staircase, {size:,} training examples",
            )
        yield f"staircase-{size}", figure


def _draw_of_suite(name: str, sources: Sources) -> Figures:
    from benchbench.figures.of_suite import SUITE_FIGURES

    of = SUITE_FIGURES[name]
    chart = of.chart(of.points(sources), of.axes)
    if chart is None:
        what, _, hint = of.needs.partition(": ")
        raise UsageError(what, hint=hint)
    yield name, chart


def _by_dataset(separations: Sequence[MeasuredSeparation]) -> dict[str, list[MeasuredSeparation]]:
    from benchbench.leaderboard.identity import grouped

    if not separations:
        raise UsageError(
            "no separation has been measured yet", hint="benchbench separation mnist --leaderboards leaderboards"
        )
    return grouped(separations, lambda row: row.dataset)


_DRAWERS: Mapping[str, Callable[[Sources], Figures]] = {
    "separation": _draw_separation,
    "closest-pairs": _draw_closest_pairs,
    "spiral": _draw_spiral,
    "staircase": _draw_staircase,
    **{name: partial(_draw_of_suite, name) for name in ("epsilon", "perturbations", "tradeoff", "lipschitz", "epochs")},
}
