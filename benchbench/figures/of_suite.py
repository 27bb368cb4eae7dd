"""The figures of any suite: what each shows, its points and its chart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from benchbench.figures.plots import Axes, line_chart, scatter_chart
from benchbench.figures.points import Measured, Point, epoch_points, perturbation_points, radius_points, scatter_points

_OVER_SEEDS = "Means over seeds with 95% intervals: Student's t over seeds"
_INTERVALS = f"{_OVER_SEEDS}; of a single seed Wilson's or the bootstrap's."


@dataclass(frozen=True, kw_only=True)
class SuiteFigure:
    """One figure."""

    title: str
    caption: str  # what is drawn, and of what it is a bound
    points: Callable[[Measured], list[Point]]
    chart: Callable[..., dict[str, object] | None]  # of points, axes and `choose`
    axes: Axes
    needs: str  # what to do if there are no points


SUITE_FIGURES: Mapping[str, SuiteFigure] = MappingProxyType(
    {
        "epsilon": SuiteFigure(
            title="Accuracy against epsilon",
            caption=f"Accuracy under attack at each radius; at radius 0 without attack. {_INTERVALS}",
            points=lambda measured: radius_points(measured.rows),
            chart=line_chart,
            axes=Axes(x="epsilon", y="accuracy under attack", x_ticks=True, zero=True),
            needs="no model was attacked at several radii: give an experiment an `evaluation` at several",
        ),
        "perturbations": SuiteFigure(
            title="Minimal perturbations",
            caption="Share of test examples that an attack changed within a distance. An example's smallest such distance is "
            f"an upper bound of its minimal perturbation, so each share is a lower bound. {_INTERVALS}",
            points=lambda measured: perturbation_points(measured.contenders),
            chart=partial(line_chart, step=True),
            axes=Axes(x="distance", y="test examples with an adversarial image", x_ticks=True, zero=True),
            needs="no model has per-example outcomes at several radii here: give an experiment an `evaluation` "
            "at several, and name the runs folder by --runs",
        ),
        "tradeoff": SuiteFigure(
            title="Accuracy against robustness",
            caption=f"Accuracy under attack against accuracy. {_INTERVALS}",
            points=lambda measured: scatter_points(measured.rows, "test_accuracy"),
            chart=scatter_chart,
            axes=Axes(x="test accuracy", y="accuracy under attack", x_unit="%"),
            needs="no two methods were attacked in one setting: benchbench run attacks them",
        ),
        "lipschitz": SuiteFigure(
            title="Lipschitzness against robustness",
            caption="Accuracy under attack against empirical local Lipschitzness. Constant models, whose Lipschitzness is 0, "
            f"have no place on the axis. {_INTERVALS}",
            points=lambda measured: scatter_points(measured.rows, "test_lipschitz"),
            chart=scatter_chart,
            axes=Axes(x="test Lipschitzness (log scale)", y="accuracy under attack", x_log=True),
            needs="no two methods have a Lipschitzness and an accuracy under attack in a setting: benchbench run measures them",
        ),
        "epochs": SuiteFigure(
            title="Training",
            caption="Clean and robust accuracy on held-out training examples after each epoch, where the recipe has a "
            "validation split and the method a threat; beside them, accuracy and loss on the batches that the method makes, "
            f"which compare within a method only. {_OVER_SEEDS}; of a single seed none.",
            points=lambda measured: epoch_points(measured.histories),
            chart=line_chart,
            axes=Axes(x="epoch", y="value", x_ticks=True, y_unit=""),
            needs="no checkpoint with a history is here: name the runs folder by --runs",
        ),
    }
)


def suite_charts(measured: Measured, names: Iterable[str] = SUITE_FIGURES) -> dict[str, dict[str, object]]:
    """The charts of a page by name, each with a choice of panels; empty ones are left out."""
    wanted = [(name, SUITE_FIGURES[name]) for name in names]
    charts = {name: of.chart(of.points(measured), of.axes, choose=True) for name, of in wanted}
    return {name: chart for name, chart in charts.items() if chart is not None}
