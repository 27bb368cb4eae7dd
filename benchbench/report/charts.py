"""The chart of a separation, and the script that draws all charts of the pages."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import altair as alt
import vl_convert

from benchbench.cell.filters import parse_options
from benchbench.figures.plots import PALETTE, specification
from benchbench.leaderboard.matching import is_regression, measure_of
from benchbench.leaderboard.names import attack_label
from benchbench.leaderboard.separations import MeasuredSeparation
from benchbench.leaderboard.spread import interval_of
from benchbench.records import Row

_DISTANCES = alt.Axis(format=".1f", tickCount=10, labelOverlap=True)


def radii_chart(rows: Sequence[Row]) -> dict[str, object] | None:
    """Robustness of one model by radius, a line for each attack; None without rows."""
    if not rows:
        return None
    mse = is_regression(rows[0])
    measure = measure_of(rows[0])
    records = [_on_curve(row, measure) for row in rows]
    y = alt.Y("value:Q", title="Adversarial test MSE" if mse else "Adversarial test accuracy")
    base = alt.Chart(alt.InlineData(values=records)).encode(
        x=alt.X("epsilon:Q", title="Radius epsilon"), color=alt.Color("attack:N", title="Attack")
    )
    points = base.mark_line(point=alt.OverlayMarkDef(size=70)).encode(y=y, tooltip=["attack:N", "epsilon:Q", "value:Q"])
    intervals = base.mark_rule(opacity=0.5).encode(y="low:Q", y2="high:Q")
    links = base.mark_point(size=200, opacity=0).encode(y=y, href="href:N")
    return specification(alt.layer(intervals, points, links).properties(width="container", height=220))


def _on_curve(row: Row, measure: str) -> dict[str, object]:
    value = getattr(row, measure)
    interval = interval_of(row, measure)
    low, high = (value, value) if interval is None else (interval.low, interval.high)
    attack = attack_label(row.attack, parse_options(row.attack_options))
    return {
        "attack": attack,
        "epsilon": row.epsilon,
        "value": value,
        "low": low,
        "high": high,
        "href": f"{row.cell_id}.html",
    }


def separation_chart(measured: MeasuredSeparation) -> dict[str, object]:
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
        return specification(bars)
    rule = (
        alt.Chart(alt.InlineData(values=[{"x": 2 * measured.epsilon}]))
        .mark_rule(strokeDash=[6, 4], size=2)
        .encode(x="x:Q")
    )
    return specification(alt.layer(bars, rule))


@functools.cache
def plotting_runtime() -> str:
    """Script that defines ``window.vegaEmbed``: Vega, Vega-Lite, Vega-Embed, altair's version."""
    version = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    return f"(() => {{{bundle}\n}})();\n"
