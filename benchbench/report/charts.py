"""Interactive charts, described with altair; the page draws them with the Vega runtime beside it."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import altair as alt
import vl_convert

from benchbench.leaderboard.matching import is_regression
from benchbench.leaderboard.separations import MeasuredSeparation
from benchbench.records import Row
from benchbench.report.boards import row_texts, source_label
from benchbench.report.contents import EpochPoint

MOST_POINTS = 4000  # beyond which a browser takes seconds to draw
MOST_COLOURS = 20
_HEIGHT = 340
_TOOLTIP = ("method", "dataset", "architecture", "attack", "source", "profile", "seed")


def lipschitz_chart(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Lipschitzness against adversarial accuracy with both 95% intervals; None where no row has both."""
    return _scatter(rows, "test_lipschitz", "Test Lipschitzness (log)", alt.Scale(type="log", nice=False))


def tradeoff_chart(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Test accuracy against adversarial test accuracy with both 95% intervals; None where no row has both."""
    return _scatter(rows, "test_accuracy", "Test accuracy", alt.Scale(zero=False))


def training_chart(history: Sequence[EpochPoint]) -> dict[str, Any] | None:
    """Loss and training accuracy by epoch; None for an empty history."""
    if not history:
        return None
    records = [{"epoch": p.epoch, "measure": "training loss", "value": p.loss} for p in history]
    records += [
        {"epoch": p.epoch, "measure": "training accuracy", "value": p.accuracy}
        for p in history
        if p.accuracy is not None
    ]
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
    """Whole epochs only: the plotting library would put ticks between the few of a short run."""
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
            x=alt.X("from:Q", title="L-inf distance to the nearest example of another class"),
            x2="to:Q",
            y=alt.Y("share:Q", title="Share of examples", stack=None, axis=alt.Axis(format="%")),
            y2=alt.datum(0),
            color=alt.Color("separation:N", title=None, legend=alt.Legend(orient="bottom")),
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
    """A classic script that defines ``window.vegaEmbed``: Vega, Vega-Lite and Vega-Embed, in altair's version."""
    version = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    return f"(() => {{{bundle}\n}})();\n"


def _scatter(rows: Sequence[Row], x: str, title: str, scale: alt.Scale) -> dict[str, Any] | None:
    records = [_point(row, x) for row in rows if _is_shown(row, x)][:MOST_POINTS]
    if not records:
        return None
    adversarial = "adv_test_accuracy"
    chosen = _dataset_choice(records)
    base = (
        alt.Chart(alt.InlineData(values=records))
        .transform_filter(f"{chosen.name} == '' || datum.dataset == {chosen.name}")
        .encode(color=alt.Color("defense:N", title="Method", legend=_legend(records)))
    )
    y = alt.Y(f"{adversarial}:Q", title="Adversarial test accuracy", axis=alt.Axis(format="%"))
    axis = alt.Axis(format="%") if x == "test_accuracy" else alt.Axis()
    intervals = base.mark_rule(opacity=0.5)
    points = base.mark_point(filled=True, size=70, opacity=0.9).encode(
        x=alt.X(f"{x}:Q", title=title, scale=scale, axis=axis),
        y=y,
        shape=alt.Shape("origin:N", title="Source", legend=alt.Legend(orient="bottom")),
        href="href:N",
        tooltip=[alt.Tooltip(f"{name}:N") for name in _TOOLTIP]
        + [alt.Tooltip(f"{x}:Q", format=".4f"), alt.Tooltip(f"{adversarial}:Q", format=".2%")],
    )
    chart = alt.layer(
        intervals.encode(x=alt.X(f"{x}:Q"), y=alt.Y(f"{adversarial}_low:Q"), y2=f"{adversarial}_high:Q"),
        intervals.encode(x=alt.X(f"{x}_low:Q"), x2=f"{x}_high:Q", y=alt.Y(f"{adversarial}:Q")),
        points,
    ).properties(width="container", height=_HEIGHT)
    return _specification(chart.add_params(chosen).interactive())


def _legend(records: Sequence[dict[str, Any]]) -> alt.Legend | None:
    """None for so many methods that no one tells their colours apart; the tooltips name them."""
    crowded = len({record["defense"] for record in records}) > MOST_COLOURS
    return None if crowded else alt.Legend(orient="bottom", columns=4)


def _dataset_choice(records: Sequence[dict[str, Any]]) -> alt.Parameter:
    """Which dataset is drawn: at first the one with most measured rows, for datasets differ more than methods."""
    ours = Counter(record["dataset"] for record in records if record["origin"] == "ours")
    names = sorted({record["dataset"] for record in records})
    first = max(names, key=lambda name: ours[name])
    choices = alt.binding_select(options=["", *names], labels=["all", *names], name="Dataset ")
    return alt.param(name="shown_dataset", value=first, bind=choices)


def _is_shown(row: Row, x: str) -> bool:
    value = getattr(row, x)
    there = row.status == "ok" and value is not None and row.adv_test_accuracy is not None and not is_regression(row)
    return there and (x != "test_lipschitz" or value > 0)


def _point(row: Row, x: str) -> dict[str, Any]:
    point: dict[str, Any] = {}
    for measure in (x, "adv_test_accuracy"):
        value = getattr(row, measure)
        point[measure] = value
        for end in ("low", "high"):  # without an interval a rule of no length, so that scales stay finite
            bound = getattr(row, f"{measure}_{end}")
            point[f"{measure}_{end}"] = value if bound is None else bound
    texts = {name: text for name, text in row_texts(row).items() if name in _TOOLTIP}
    origin = "ours" if row.source == "measured" else source_label(row).partition(",")[0]
    known = {"defense": row.defense, "origin": origin, "seed": str(row.seed), "href": f"rows/{row.cell_id}.html"}
    return {**point, **texts, **known}


def _specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    document: dict[str, Any] = chart.to_dict()
    document.pop("$schema", None)  # an address, which pages that stay off the network have no use for
    document.pop("config", None)
    return document
