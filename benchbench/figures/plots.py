"""Vega-Lite charts: on a page the reader chooses a panel, a file shows all of them."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import altair as alt

from benchbench.figures.points import Point
from benchbench.leaderboard.lines import FLAGGED

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666")
"""Colours of Okabe and Ito (2008) and a grey, which colour-blind readers tell apart."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
_WIDTH, _HEIGHT = 330, 240  # of a panel in a file
_COLUMNS = 3  # of panels in a file
MOST_PANELS = 24  # in a file
MOST_POINTS = 4000  # on a page: a browser takes seconds to draw more
_LINE = 62  # characters of a legend's line
_MOST_TICKS = 12
_TITLE = 52  # characters of a line above a panel
_FORMATS = {"%": ".1%", "": ".4~g"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axes:
    """Titles and kinds of a chart's axes."""

    x: str
    y: str
    x_unit: Literal["%", ""] = ""
    y_unit: Literal["%", ""] = "%"
    x_log: bool = False
    x_ticks: bool = False  # whether ticks are at the points only, if these are few
    zero: bool = False  # whether y begins at 0


def line_chart(
    points: Sequence[Point], axes: Axes, *, step: bool = False, choose: bool = False
) -> dict[str, object] | None:
    """Lines with bands of 95% intervals, as steps if `step`; None without points."""
    shape: Any = "step-after" if step else "linear"
    base = _base(points, axes, choose=choose)
    bands = base.mark_area(opacity=0.18, interpolate=shape).encode(y=_y(axes, "bottom"), y2="top:Q")
    dashes = alt.StrokeDash("dash:N", scale=None)
    lines = base.mark_line(interpolate=shape).encode(strokeDash=dashes, y=_y(axes, "y"))
    marks = base.mark_point(filled=True, size=55, opacity=1).encode(
        shape=_scaled(points, "shape"), y=_y(axes, "y"), tooltip=_tooltip(axes)
    )
    ends = base.mark_rule(opacity=0.6).encode(y=_y(axes, "bottom"), y2="top:Q")
    layers = [bands, ends, lines, marks, _flags(base, axes)]
    return _finished(points, layers, axes, choose=choose) if points else None


def scatter_chart(points: Sequence[Point], axes: Axes, *, choose: bool = False) -> dict[str, object] | None:
    """Points with both 95% intervals as error bars, published ones hollow; None without points."""
    seen = [value for point in points for value in (point.x, point.x_low) if value is not None and value > 0]
    if axes.x_log:  # such an interval has no end on the axis: it goes on to the smallest value shown
        points = [
            p if p.x_low is None or p.x_low > 0 else dataclasses.replace(p, x_low=min(seen)) for p in points if p.x > 0
        ]
    base = _base(points, axes, choose=choose)
    up = base.mark_rule().encode(y=_y(axes, "bottom"), y2="top:Q")
    across = base.mark_rule().encode(x=_x(axes, "left"), x2="right:Q", y=_y(axes, "y"))
    marks = base.mark_point(size=75, strokeWidth=2).encode(
        shape=_scaled(points, "shape"),
        fill=_scaled(points, "fill"),
        fillOpacity=alt.condition("datum.published", alt.value(0.0), alt.value(1.0)),
        y=_y(axes, "y"),
        tooltip=[*_tooltip(axes), alt.Tooltip("published:N")],
    )
    if choose:
        marks = marks.encode(href="href:N").interactive()
    return _finished(points, [up, across, marks, _flags(base, axes)], axes, choose=choose) if points else None


def _flags(base: alt.Chart, axes: Axes) -> alt.Chart:
    """A mark beside the points that a flagged row is part of."""
    marks: alt.Chart = base.mark_text(dx=10, dy=-6, fontSize=13).encode(y=_y(axes, "y"), text="mark:N")
    return marks


def _base(points: Sequence[Point], axes: Axes, *, choose: bool) -> alt.Chart:
    chart = alt.Chart().encode(
        x=_x(axes, "x", sorted({point.x for point in points})), color=_scaled(points, "color"), detail="series:N"
    )
    return chart.transform_filter("datum.panel == shown_panel") if choose else chart


def _x(axes: Axes, field: str, at: Sequence[float] = ()) -> alt.X:
    scale = (
        alt.Scale(type="log", nice=False, padding=12) if axes.x_log else alt.Scale(zero=False, nice=False, padding=8)
    )
    values = at if axes.x_ticks and len(at) <= _MOST_TICKS else alt.Undefined
    ticks = alt.Axis(format="%" if axes.x_unit else _FORMATS[""], labelOverlap=True, values=values)
    return alt.X(f"{field}:Q", title=axes.x, scale=scale, axis=ticks)


def _y(axes: Axes, field: str) -> alt.Y:
    ticks = alt.Axis(format="%") if axes.y_unit else alt.Axis()
    return alt.Y(f"{field}:Q", title=axes.y, scale=alt.Scale(zero=axes.zero), axis=ticks)


def _tooltip(axes: Axes) -> list[alt.Tooltip]:
    numbers = [("x", axes.x, axes.x_unit), ("y", axes.y, axes.y_unit)]
    shown = [alt.Tooltip(f"{key}:Q", title=title, format=_FORMATS[unit]) for key, title, unit in numbers]
    return [
        alt.Tooltip("series:N", title="method"),
        *shown,
        alt.Tooltip("interval:N", title="95% interval"),
        alt.Tooltip("n:Q", title="seeds"),
    ]


def _scaled(points: Sequence[Point], channel: str) -> Any:
    """A channel by series: colour and marker differ, and one legend shows both."""
    names = _series(points)
    of = SHAPES if channel == "shape" else PALETTE
    scale = alt.Scale(domain=names, range=[of[place % len(of)] for place in range(len(names))])
    kinds = {"color": alt.Color, "fill": alt.Fill, "shape": alt.Shape}
    return kinds[channel]("series:N", title=None, scale=scale, legend=alt.Legend(**_legend(names)))


def _series(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(point.series for point in sorted(points, key=lambda point: point.order)))


def _legend(names: Sequence[str]) -> dict[str, Any]:
    """Below the chart, whole: nothing is shortened or left out."""
    columns = max(1, min(5, _LINE // (max(map(len, names), default=1) + 4)))
    return {"orient": "bottom", "columns": columns, "labelLimit": 0, "symbolLimit": 0, "symbolOpacity": 1}


def _record(point: Point, place: int, axes: Axes, *, wrap: bool) -> dict[str, object]:
    """A point's fields; without an interval, error bars of length 0 keep the scales finite."""
    low, high = (point.y if end is None else end for end in (point.low, point.high))
    left, right = (point.x if end is None else end for end in (point.x_low, point.x_high))
    drawn = {"bottom": low, "top": high, "left": left, "right": right, "dash": _DASHES[place % len(_DASHES)]}
    drawn |= {"order": place, "interval": _interval(point, axes)}
    panel = _wrapped(point.panel) if wrap else point.panel
    return {**dataclasses.asdict(point), **drawn, "panel": panel, "mark": FLAGGED if point.flagged else ""}


def _interval(point: Point, axes: Axes) -> str:
    """The interval as text: Vega formats a missing number as 0."""
    form = ".1%" if axes.y_unit else ".4g"
    ends = [format(end, form) for end in (point.low, point.high) if end is not None]
    return " to ".join(ends) if len(ends) == 2 else "none"


def _wrapped(panel: str) -> str:
    return textwrap.fill(panel, _TITLE)


def _finished(points: Sequence[Point], layers: Sequence[alt.Chart], axes: Axes, *, choose: bool) -> dict[str, object]:
    panels = list(dict.fromkeys(point.panel for point in points))
    shown = points[:MOST_POINTS] if choose else [point for point in points if point.panel in panels[:MOST_PANELS]]
    places = {name: place for place, name in enumerate(_series(points))}
    data = alt.InlineData(values=[_record(point, places[point.series], axes, wrap=not choose) for point in shown])
    layered = alt.layer(*layers, data=data)
    chart: alt.TopLevelMixin
    if choose:
        options = list(dict.fromkeys(point.panel for point in shown))
        pick = alt.param(name="shown_panel", value=panels[0], bind=alt.binding_select(options=options, name="Shown "))
        chart = layered.properties(width="container", height=340).add_params(pick)
    else:
        header = alt.Header(title=None, labelLimit=0, labelExpr="split(datum.value, '\\n')")
        facet = alt.Facet("panel:N", header=header, sort=[*map(_wrapped, panels)])
        chart = layered.properties(width=_WIDTH, height=_HEIGHT).facet(facet=facet, columns=min(_COLUMNS, len(panels)))
        chart = chart.resolve_scale(x="independent", y="independent")
    if len(shown) < len(points):
        chart = chart.properties(
            title=f"the first {len(shown):,} of {len(points):,} points: there are too many to draw"
        )
    return specification(chart)


def specification(chart: alt.TopLevelMixin) -> dict[str, object]:
    """A chart in Vega-Lite, whose version and look are the page's or the file's."""
    document: dict[str, object] = chart.to_dict()
    document.pop("$schema", None)  # an address; the pages need no network
    document.pop("config", None)
    return document
