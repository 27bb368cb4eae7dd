"""Charts of one model and of separations; those of a suite are in `benchbench.figures.of_suite`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import vl_convert

from benchbench.figures.plots import PALETTE
from benchbench.leaderboard.separations import MeasuredSeparation

if TYPE_CHECKING:
    from benchbench.training.checkpoint import EpochRecord

_DISTANCES = alt.Axis(format=".1f", tickCount=10, labelOverlap=True)


def training_chart(history: Sequence[EpochRecord]) -> dict[str, Any] | None:
    """Loss and training accuracy by epoch; None for an empty history."""
    if not history:
        return None
    measures = [(p.epoch, "training loss", p.loss) for p in history]
    measures += [(p.epoch, "training accuracy", p.accuracy) for p in history if p.accuracy is not None]
    records = [{"epoch": epoch, "measure": measure, "value": value} for epoch, measure, value in measures]
    chart = (
        alt.Chart(alt.InlineData(values=records))
        .mark_line(point=True)
        .encode(
            x=alt.X("epoch:Q", title="Epoch", axis=_epoch_axis(len(history))),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
            tooltip=["epoch:Q", "measure:N", "value:Q"],
        )
        .properties(width=280, height=180)
        .facet(facet=alt.Facet("measure:N", title=None), columns=2)
        .resolve_scale(y="independent")
    )
    return _specification(chart)


def _epoch_axis(epochs: int) -> alt.Axis:
    """Whole epochs only: Vega would put ticks between the few epochs of a short run."""
    return alt.Axis(format="d", values=list(range(1, epochs + 1)) if epochs <= 10 else alt.Undefined)


def separation_chart(measured: MeasuredSeparation) -> dict[str, Any]:
    """Histogram of the distances to the nearest example of another class, with 2 epsilon marked."""
    records = [
        {"from": low, "to": high, "share": count / max(1, one.examples), "separation": name}
        for name, one in zip(("train-train", "test-train"), measured.separations)
        for low, high, count in zip(one.edges, one.edges[1:], one.histogram)
    ]
    bars = (
        alt.Chart(alt.InlineData(values=records))
        .mark_rect(opacity=0.55)
        .encode(
            x=alt.X("from:Q", title="L-inf distance to the nearest example of another class", axis=_DISTANCES),
            x2="to:Q",
            y=alt.Y("share:Q", title="Share of examples", stack=None, axis=alt.Axis(format="%")),
            y2=alt.datum(0),
            color=alt.Color(
                "separation:N", title=None, scale=alt.Scale(range=PALETTE), legend=alt.Legend(orient="bottom")
            ),
            tooltip=["separation:N", "from:Q", "to:Q", alt.Tooltip("share:Q", format=".2%")],
        )
        .properties(width="container", height=220)
    )
    if measured.epsilon is None:
        return _specification(bars)
    rule = (
        alt.Chart(alt.InlineData(values=[{"x": 2 * measured.epsilon}]))
        .mark_rule(strokeDash=[6, 4], size=2)
        .encode(x="x:Q")
    )
    return _specification(alt.layer(bars, rule))


@functools.cache
def plotting_runtime() -> str:
    """Script that defines ``window.vegaEmbed``: Vega, Vega-Lite, Vega-Embed, altair's version."""
    version = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    return f"(() => {{{bundle}\n}})();\n"


def _specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    document: dict[str, Any] = chart.to_dict()
    document.pop("$schema", None)  # an address; the pages need no network
    document.pop("config", None)
    return document
