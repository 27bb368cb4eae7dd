"""The chart of a separation, and the script that draws all charts of the pages."""

from __future__ import annotations

import functools
from typing import Any

import altair as alt
import vl_convert

from benchbench.figures.plots import PALETTE
from benchbench.leaderboard.separations import MeasuredSeparation

_DISTANCES = alt.Axis(format=".1f", tickCount=10, labelOverlap=True)


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
