"""Lipschitzness against adversarial accuracy by setting: ours filled, published hollow."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from benchbench.errors import UsageError
from benchbench.leaderboard.identity import SETTING, grouped, tell_apart
from benchbench.leaderboard.matching import is_of_setting, is_regression, published_setting, same_setting
from benchbench.leaderboard.names import defense_label, defense_order, joined, published_label, searched_in, trained_in
from benchbench.leaderboard.spread import interval_of
from benchbench.records import Row
from benchbench.reproduction.papers import PAPERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Colour = tuple[float, float, float, float]
COLUMNS = 3
TITLE_WIDTH = 50  # characters
_MARKERS = "^sDvPX<>"  # of our rows by profile and precision; published ones are circles


def lipschitz_figure(rows: Sequence[Row], *, attack: str = "pgd-10") -> Figure:
    """Draw every setting under one attack; published numbers are those of the NeurIPS version.

    Ours have 95% intervals, and a marker for each profile and precision. Without a row that holds both measures, this is a
    UsageError.
    """
    from matplotlib.figure import Figure

    panels = _panels(rows, attack)
    if not panels:
        raise UsageError(
            "no row has both a Lipschitzness and an adversarial accuracy", hint="benchbench run measures them"
        )
    columns = min(COLUMNS, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * lines + 0.9), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).flatten()
    shown = [row for panel in panels for row in panel]
    order = {_method(row): defense_order(row)[:3] for row in shown}
    colours = {label: _colour(place) for place, label in enumerate(sorted(order, key=order.__getitem__))}
    origins = sorted({_origin(row) for row in shown if row.source == "measured"})
    markers = {origin: _MARKERS[place % len(_MARKERS)] for place, origin in enumerate(origins)}
    for axes, panel, title in zip(grid, panels, _titles(panels)):
        _draw_panel(axes, panel, title, colours, markers)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.legend(
        handles=_legend(colours, markers, any(_is_published(row) for row in shown)),
        loc="outside lower center",
        ncols=min(8, 4 * columns),
        fontsize="small",
    )
    return figure


def _colour(place: int) -> Colour:
    """Ten strong colours, then their ten pale ones."""
    from matplotlib import colormaps

    strong, pale = divmod(place % 20, 10)[::-1]
    return colormaps["tab20"](2 * strong + pale)


def _panels(rows: Sequence[Row], attack: str) -> list[list[Row]]:
    """Rows by setting, of settings with several methods; the papers' first, then by dataset."""
    finished = (row for row in rows if row.attack == attack and row.status == "ok" and not is_regression(row))
    wanted = [row for row in finished if None not in (row.test_lipschitz, row.adv_test_accuracy)]
    published = [row for row in wanted if _is_published(row) and row.published_source == PAPERS[0]]

    def setting(row: Row) -> tuple[object, ...]:
        if _is_published(row):
            return published_setting(row)
        return next((published_setting(one) for one in published if is_of_setting(one, row)), same_setting(row))

    found = grouped([*published, *(row for row in wanted if row.source == "measured")], setting)
    shown = {key: panel for key, panel in found.items() if len({_method(row) for row in panel}) > 1}
    return [shown[key] for key in sorted(shown, key=lambda key: (not any(map(_is_published, shown[key])), repr(key)))]


def _is_published(row: Row) -> bool:
    return row.source == "published"


def _method(row: Row) -> str:
    """The method without its variant, so that ours and the published one have the same colour."""
    return defense_label(row).split(" (variant")[0]


def _draw_panel(
    axes: Axes, panel: Sequence[Row], title: str, colours: dict[str, Colour], markers: dict[str, str]
) -> None:
    for row in panel:
        colour = colours[_method(row)]
        x, y = row.test_lipschitz or 0.0, 100 * (row.adv_test_accuracy or 0.0)
        if _is_published(row):
            axes.plot(x, y, marker="o", color=colour, fillstyle="none", linestyle="none", markersize=8)
            continue
        if row.test_lipschitz_upper is not None:  # the proven ends of both quantities
            axes.hlines(y, x, row.test_lipschitz_upper, color=colour, alpha=0.4, linestyle="dotted")
        if row.certified_test_accuracy is not None:
            axes.vlines(x, 100 * row.certified_test_accuracy, y, color=colour, alpha=0.4, linestyle="dotted")
        across, up = interval_of(row, "test_lipschitz"), interval_of(row, "adv_test_accuracy")
        axes.errorbar(
            x,
            y,
            xerr=[[x - across.low], [across.high - x]] if across else None,
            yerr=[[y - 100 * up.low], [100 * up.high - y]] if up else None,
            marker=markers[_origin(row)],
            color=colour,
            linestyle="none",
            markersize=6,
            linewidth=1.0,
        )
    axes.set(xscale="log", xlabel="test Lipschitzness (log scale)", ylabel="adv. test accuracy (%)")
    axes.set_title(textwrap.fill(title, TITLE_WIDTH), fontsize="small")
    axes.grid(alpha=0.3)
    _label_decades(axes)


def _titles(panels: Sequence[Sequence[Row]]) -> list[str]:
    """The setting of each panel, extended where titles would be equal."""
    rows = [panel[0] for panel in panels]
    parts = [[part for part in published_label(row).split(", ") if part != row.attack] for row in rows]
    return tell_apart([", ".join(found) for found in parts], rows, SETTING)


def _label_decades(axes: Axes) -> None:
    """Plain ticks at 1, 2 and 5 of each decade; matplotlib's overlap on short ranges."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelsize="small")


def _origin(row: Row) -> str:
    """Profile and precision of a row of ours, which its marker shows."""
    return joined("ours", f"{row.profile} profile", searched_in(row), trained_in(row))


def _legend(colours: dict[str, Colour], markers: dict[str, str], with_published: bool) -> list[Line2D]:
    from matplotlib.lines import Line2D

    def handle(label: str, marker: str, color: str | Colour, fillstyle: Literal["full", "none"] = "full") -> Line2D:
        return Line2D([], [], linestyle="none", label=label, marker=marker, color=color, fillstyle=fillstyle)

    handles = [handle(label, marker="s", color=colour) for label, colour in colours.items()]
    if with_published:
        handles.append(handle("published", marker="o", color="black", fillstyle="none"))
    return handles + [handle(origin, marker=marker, color="black") for origin, marker in markers.items()]
