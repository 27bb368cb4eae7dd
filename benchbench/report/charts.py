"""Interactive charts: Vega-Lite specifications by altair, drawn by the page's Vega runtime."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import vl_convert

from benchbench.cell.filters import parse_options
from benchbench.leaderboard.matching import is_regression
from benchbench.leaderboard.names import attack_label, joined
from benchbench.leaderboard.separations import MeasuredSeparation
from benchbench.leaderboard.spread import interval_of
from benchbench.records import Row
from benchbench.report.boards import row_texts, source_label, training_variation

if TYPE_CHECKING:
    from benchbench.training.checkpoint import EpochRecord

MOST_POINTS = 4000  # a browser takes seconds to draw more
MOST_COLOURS = 20
_HEIGHT = 340
_DISTANCES = alt.Axis(format=".1f", tickCount=10, labelOverlap=True)
_CHOSEN = ("dataset", "threat", "attack")  # the reader chooses one of each below a chart
_TOOLTIP = ("method", "dataset", "architecture", "variation", "threat", "attack", "source", "profile", "seed")


def lipschitz_chart(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Lipschitzness against adversarial accuracy, both 95% intervals; None if no row has both."""
    return _scatter(rows, "test_lipschitz", "Test Lipschitzness (log)", alt.Scale(type="log", nice=False))


def tradeoff_chart(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Test against adversarial test accuracy with both 95% intervals; None if no row has both."""
    return _scatter(rows, "test_accuracy", "Test accuracy", alt.Scale(zero=False))


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


def radii_chart(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Robustness of one model by radius, a line for each attack; None without rows."""
    if not rows:
        return None
    mse = is_regression(rows[0])
    measure = "adv_test_mse" if mse else "adv_test_accuracy"
    records = [_on_curve(row, measure) for row in rows]
    y = alt.Y("value:Q", title="Adversarial test MSE" if mse else "Adversarial test accuracy")
    base = alt.Chart(alt.InlineData(values=records)).encode(
        x=alt.X("epsilon:Q", title="Radius epsilon"), color=alt.Color("attack:N", title="Attack")
    )
    points = base.mark_line(point=alt.OverlayMarkDef(size=70)).encode(y=y, tooltip=["attack:N", "epsilon:Q", "value:Q"])
    intervals = base.mark_rule(opacity=0.5).encode(y="low:Q", y2="high:Q")
    links = base.mark_point(size=200, opacity=0).encode(y=y, href="href:N")
    return _specification(alt.layer(intervals, points, links).properties(width="container", height=220))


def _on_curve(row: Row, measure: str) -> dict[str, Any]:
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


def training_curves(models: Sequence[tuple[Row, Sequence[EpochRecord]]]) -> dict[str, Any] | None:
    """Training loss by epoch of a suite's models, each with a row and its history, maybe empty."""
    records = [{**_curve(row), "epoch": p.epoch, "loss": p.loss} for row, history in models for p in history]
    records = records[:MOST_POINTS]
    if not records:
        return None
    families = Counter[str](record["models"] for record in records)
    chosen = _choice("models", sorted(families), families.most_common(1)[0][0], every=False)
    chart = (
        alt.Chart(alt.InlineData(values=records))
        .transform_filter(_chosen(chosen, "models"))
        .mark_line(point=True)
        .encode(
            x=alt.X("epoch:Q", title="Epoch", axis=_epoch_axis(max(record["epoch"] for record in records))),
            y=alt.Y("loss:Q", title="Training loss", scale=alt.Scale(zero=False)),
            color=alt.Color("method:N", title="Method", legend=_legend(records, "method")),
            detail="model:N",
            tooltip=["method:N", "threat:N", "seed:N", "epoch:Q", "loss:Q"],
        )
        .properties(width="container", height=_HEIGHT)
    )
    return _specification(chart.add_params(chosen))


def _curve(row: Row) -> dict[str, Any]:
    """Fields that every point of a model's curve has."""
    texts = row_texts(row)
    family = joined(texts["dataset"], texts["architecture"], training_variation(row), f"{row.profile} profile")
    named = {"method": texts["method"], "threat": texts["threat"], "seed": str(row.seed)}
    return {"models": family, "model": row.model_id, **named}


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
    """Script that defines ``window.vegaEmbed``: Vega, Vega-Lite, Vega-Embed, altair's version."""
    version = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    return f"(() => {{{bundle}\n}})();\n"


def _scatter(rows: Sequence[Row], x: str, title: str, scale: alt.Scale) -> dict[str, Any] | None:
    records = [_point(row, x) for row in rows if _is_shown(row, x)][:MOST_POINTS]
    if not records:
        return None
    adversarial = "adv_test_accuracy"
    choices = _choices(records)
    base = alt.Chart(alt.InlineData(values=records)).encode(
        color=alt.Color("defense:N", title="Method", legend=_legend(records, "defense"))
    )
    for name, choice in zip(_CHOSEN, choices):
        base = base.transform_filter(_chosen(choice, name))
    percent, near = alt.Axis(format="%"), alt.Scale(zero=False)
    y = alt.Y(f"{adversarial}:Q", title="Adversarial test accuracy", axis=percent, scale=near)
    axis = percent if x == "test_accuracy" else alt.Axis()
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
    return _specification(chart.add_params(*choices).interactive())


def _legend(records: Sequence[dict[str, Any]], key: str) -> alt.Legend | None:
    """None for too many methods to tell their colours apart; the tooltips name them."""
    crowded = len({record[key] for record in records}) > MOST_COLOURS
    return None if crowded else alt.Legend(orient="bottom", columns=4)


def _choices(records: Sequence[dict[str, Any]]) -> list[alt.Parameter]:
    """A choice per name in `_CHOSEN`: at first only our most frequent value given those before."""
    choices, left = [], list(records)
    for name in _CHOSEN:
        ours = Counter[str](record[name] for record in left if record["source"] == "ours")
        first = max(sorted({record[name] for record in left}), key=ours.__getitem__)
        choices.append(_choice(name, sorted({record[name] for record in records}), first))
        left = [record for record in left if record[name] == first]
    return choices


def _choice(key: str, names: Sequence[str], first: str, *, every: bool = True) -> alt.Parameter:
    """A list below the chart of which the reader chooses one value, or all."""
    options, labels = (["", *names], ["all", *names]) if every else (list(names), list(names))
    choices = alt.binding_select(options=options, labels=labels, name=f"{key.capitalize()} ")
    return alt.param(name=f"shown_{key}", value=first, bind=choices)


def _chosen(choice: alt.Parameter, key: str) -> str:
    return f"{choice.name} == '' || datum.{key} == {choice.name}"


def _is_shown(row: Row, x: str) -> bool:
    value = getattr(row, x)
    if row.status != "ok" or value is None or row.adv_test_accuracy is None or is_regression(row):
        return False
    return x != "test_lipschitz" or bool(value > 0)


def _point(row: Row, x: str) -> dict[str, Any]:
    point: dict[str, Any] = {}
    for measure in (x, "adv_test_accuracy"):
        value = getattr(row, measure)
        point[measure] = value
        for end in ("low", "high"):  # without an interval, a rule of length 0 keeps the scales finite
            bound = getattr(row, f"{measure}_{end}")
            point[f"{measure}_{end}"] = value if bound is None else bound
    texts = {name: text for name, text in row_texts(row).items() if name in _TOOLTIP}
    origin = f"ours, {row.profile}" if row.source == "measured" else source_label(row).partition(",")[0]
    known = {"defense": row.defense, "origin": origin, "seed": str(row.seed), "href": f"rows/{row.cell_id}.html"}
    return {**point, **texts, **known}


def _specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    document: dict[str, Any] = chart.to_dict()
    document.pop("$schema", None)  # an address; the pages need no network
    document.pop("config", None)
    return document
