"""The points of a suite's figures against means, intervals and distributions computed in another way."""

from __future__ import annotations

import dataclasses
import itertools
import re
import statistics
from typing import Any

import numpy as np
import pytest
from contender_samples import contender
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_rows import make_cell, make_row

from benchbench.cell.model import to_json
from benchbench.comparison.contenders import Contender
from benchbench.figures.of_suite import SUITE_FIGURES, Measured, suite_charts
from benchbench.figures.plots import PALETTE, SHAPES, Axes, line_chart, scatter_chart
from benchbench.figures.points import (
    Point,
    epoch_points,
    perturbation_bounds,
    perturbation_points,
    radius_points,
    scatter_points,
)
from benchbench.leaderboard import published_rows
from benchbench.records import Row
from benchbench.training.checkpoint import EpochRecord

RADII = (0.05, 0.1, 0.2)


def models(defense: str, values: dict[tuple[int, float], float], **columns: Any) -> list[Row]:
    """Rows by seed and radius, with accuracies under attack; trained at 0.1 if at a threat."""
    made = []
    for (seed, epsilon), value in values.items():
        trained = {} if defense == "natural" else {"train_norm": "linf", "train_epsilon": 0.1}
        name = f"{defense}-{seed}-{epsilon}"
        measures = {"test_accuracy": 0.9 + seed / 100, "adv_test_accuracy": value}
        made.append(make_row(**{"cell_id": name, "model_id": f"{defense}-{seed}", "defense": defense, "seed": seed,
                                "epsilon": epsilon, **trained, **measures, **columns}))  # fmt: skip
    return made


def grid(defense: str, start: float = 0.8) -> dict[tuple[int, float], float]:
    return {(seed, e): start - e + 0.01 * seed for seed, e in itertools.product(range(3), RADII)}


def at(points: list[Point], series: str, x: float) -> Point:
    (found,) = [point for point in points if (point.series, point.x) == (series, x)]
    return found


# Accuracy against epsilon ------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=4), st.randoms())
def test_accuracy_at_each_radius_is_the_mean_over_seeds(seeds: list[list[float]], random: Any) -> None:
    values = {(seed, e): value for seed, row in enumerate(seeds) for e, value in zip(RADII, row)}
    rows = [*models("at", values), *models("natural", grid("natural"))]
    random.shuffle(rows)
    points = radius_points(rows)
    for column, radius in enumerate(RADII):
        point = at(points, "AT", radius)
        found = [row[column] for row in seeds]
        assert (point.y, point.n) == (pytest.approx(statistics.fmean(found), abs=1e-12), len(seeds))
        if len(found) == 3 and max(found) - min(found) > 1e-6:
            half = 4.302652729911275 * statistics.stdev(found) / 3**0.5
            assert point.low == pytest.approx(max(0, point.y - half), abs=1e-9)
            assert point.high == pytest.approx(min(1, point.y + half), abs=1e-9)
    assert at(points, "AT", 0.0).y == pytest.approx(statistics.fmean(0.9 + seed / 100 for seed in range(len(seeds))))


def test_single_seed_has_the_interval_of_its_test_examples() -> None:
    (rows,) = [models("at", {(0, e): 0.5 for e in RADII}, adv_test_accuracy_low=0.4, adv_test_accuracy_high=0.6)]
    point = at(radius_points(rows), "AT", 0.1)
    assert (point.low, point.high, point.n) == (0.4, 0.6, 1)


def test_models_trained_at_the_radius_of_their_attack_are_a_series_without_a_clean_accuracy() -> None:
    rows = [row for e in RADII for row in models("at", {(0, e): 0.5 - e, (1, e): 0.6 - e}, train_epsilon=e)]
    points = radius_points(rows)
    assert {(point.series, point.x) for point in points} == {("AT, trained at each radius", e) for e in RADII}
    assert at(points, "AT, trained at each radius", 0.2).y == pytest.approx(0.35)


def test_models_trained_at_different_radii_are_different_series() -> None:
    rows = [*models("at", grid("at")), *models("at", grid("at", 0.7), train_epsilon=0.2)]
    rows = [dataclasses.replace(row, cell_id=f"{row.cell_id}-{row.train_epsilon}") for row in rows]
    assert {point.series for point in radius_points(rows)} == {"AT, trained at linf 0.1", "AT, trained at linf 0.2"}


def test_models_of_other_recipes_attacks_and_data_are_not_averaged() -> None:
    def recorded(rate: float) -> list[Row]:
        cell = make_cell()
        recipe = dataclasses.replace(cell.training.recipe, learning_rate=rate)
        text = to_json(dataclasses.replace(cell, training=dataclasses.replace(cell.training, recipe=recipe)))
        rows = models("at", {(0, e): rate for e in RADII}, configuration=text)
        return [dataclasses.replace(row, cell_id=f"{rate}-{row.cell_id}") for row in rows]

    points = radius_points([*recorded(0.1), *recorded(0.5)])
    assert len({point.series for point in points}) == 2
    assert {point.n for point in points} == {1}
    others = [models("at", grid("at"), **{key: value}) for key, value in (("attack", "mt-20"), ("dataset", "digits"))]
    assert len({point.panel for point in radius_points([*models("at", grid("at")), *others[0], *others[1]])}) == 3


def test_what_has_one_radius_failed_or_was_published_is_no_curve() -> None:
    published = [dataclasses.replace(row, source="published") for row in models("at", grid("at"))]
    failed = [dataclasses.replace(row, status="failed", error="x") for row in models("gr", grid("gr"))]
    single = models("llr", {(0, 0.1): 0.5})
    assert radius_points([*published, *failed, *single]) == []


def test_points_of_flagged_rows_are_marked() -> None:
    rows = models("at", grid("at"))
    rows[1] = dataclasses.replace(rows[1], flags=("zero-gradients",))  # seed 0 at 0.1
    assert [(point.x, point.flagged) for point in radius_points(rows)] == [
        (0, False),
        (0.05, False),
        (0.1, True),
        (0.2, False),
    ]


# Minimal perturbations ---------------------------------------------------------------------------------------------


def attacked(seed: int, epsilon: float, correct: list[bool], robust: list[bool]) -> Contender:
    """A model of a seed, evaluated at a radius by one attack."""
    columns = {"defense": "at", "train_norm": "linf", "train_epsilon": 0.1, "seed": seed, "epsilon": epsilon}
    made = contender(f"m{seed}", ("pgd-10", np.array(robust)), **columns)
    outcomes = {**made.outcomes[0], "correct": np.array(correct)}
    row = dataclasses.replace(made.row, model_id=f"m{seed}", cell_id=f"m{seed}-{epsilon}")
    return Contender(rows=(row,), outcomes=(outcomes,))


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_perturbations_are_bounded_by_the_smallest_radius_that_broke_each_example(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 6))
    flags = st.lists(st.booleans(), min_size=n, max_size=n)
    found = []
    shares: dict[float, list[float]] = {x: [] for x in (0.0, *RADII)}
    for seed in range(data.draw(st.integers(1, 3))):
        correct = data.draw(flags)
        robust = {e: [a and b for a, b in zip(correct, data.draw(flags))] for e in RADII}  # need not be monotone
        radii = [attacked(seed, e, correct, robust[e]) for e in RADII]
        expected = []
        for example in range(n):
            broken = [e for e in RADII if not robust[e][example]]
            expected.append(0.0 if not correct[example] else min(broken, default=np.inf))
        assert perturbation_bounds(radii[::-1]).tolist() == expected
        for x, of in shares.items():
            of.append(sum(bound <= x for bound in expected) / n)
        found += radii
    points = perturbation_points(found)
    assert [point.x for point in points] == [0.0, *RADII]
    for point in points:
        assert point.y == pytest.approx(statistics.fmean(shares[point.x]))
        assert point.n == len(shares[point.x])
    assert all(a.y <= b.y + 1e-12 for a, b in itertools.pairwise(points))


def test_bounds_are_on_the_examples_that_all_radii_share() -> None:
    few, many = attacked(0, 0.1, [True] * 2, [False, True]), attacked(0, 0.2, [True] * 4, [False] * 4)
    assert perturbation_bounds([few, many]).tolist() == [0.1, 0.2]
    assert perturbation_points([few]) == []


# Training ----------------------------------------------------------------------------------------------------------


def test_epochs_are_means_over_seeds_of_each_recorded_quantity() -> None:
    def history(seed: int, known: bool) -> list[EpochRecord]:
        return [
            EpochRecord(
                epoch=e,
                learning_rate=0.1,
                loss=seed + e,
                accuracy=0.1 * e if known else None,
                validation_accuracy=0.4,
                validation_robust_accuracy=0.2 + 0.1 * seed if e == 2 else None,
            )
            for e in (1, 2)
        ]

    trained = [(make_row(model_id=f"m{s}", cell_id=f"c{s}", seed=s), history(s, known=s < 2)) for s in range(3)]
    points = epoch_points([*trained, (make_row(model_id="none"), [])])
    losses = [point for point in points if point.panel.startswith("training loss; ")]
    assert [(point.x, point.y, point.n) for point in losses] == [(1, pytest.approx(2.0), 3), (2, pytest.approx(3.0), 3)]
    assert losses[0].high == pytest.approx(2.0 + 4.302653 * 1 / 3**0.5, rel=1e-6)
    accuracies = [point for point in points if point.panel.startswith("accuracy on training batches; ")]
    assert [(point.y, point.n) for point in accuracies] == [(pytest.approx(0.1), 2), (pytest.approx(0.2), 2)]
    (robust,) = [point for point in points if point.panel.startswith("robust accuracy on held-out examples; ")]
    assert (robust.x, robust.y, robust.n) == (2, pytest.approx(0.3), 3)
    kinds = list(dict.fromkeys(point.panel.partition(";")[0] for point in points))
    assert [kind.partition(" on ")[0] for kind in kinds] == ["accuracy", "robust accuracy", "accuracy", "training loss"]


def test_a_method_has_the_same_colour_in_every_chart_of_a_page() -> None:
    """Also where the first panel lacks a method: here only the last ones have held-out examples."""
    plain, held_out = ({"validation_accuracy": value} for value in (None, 0.5))
    known = [
        (make_row(model_id=f"{defense}{n}", cell_id=f"{defense}{n}", defense=defense, n_validation=n),
         [EpochRecord(epoch=1, learning_rate=0.1, loss=1.0, accuracy=0.5, **(held_out if n else plain))])
        for defense, n in (("natural", 0), ("at", 0), ("gr", 0), ("natural", 9), ("at", 9))
    ]  # fmt: skip
    points = epoch_points(known)
    assert points[0].panel.startswith("accuracy on held-out")
    chart = line_chart(points, Axes(x="x", y="y"))
    assert chart is not None
    layers = chart["spec"]["layer"]
    domains = [one["encoding"]["color"]["scale"]["domain"] for one in layers if "scale" in one["encoding"]["color"]]
    assert domains[0] == ["Natural", *sorted({point.series for point in points} - {"Natural", "AT"}), "AT"]


# Scatter plots -----------------------------------------------------------------------------------------------------


def test_scatter_has_both_intervals_and_the_published_points_of_each_setting() -> None:
    def ours(defense: str, lipschitz: float, seed: int) -> Row:
        return make_row(cell_id=f"{defense}-{seed}", defense=defense, seed=seed, test_lipschitz=lipschitz + seed,
                        test_lipschitz_low=lipschitz - 1, test_lipschitz_high=lipschitz + 1,
                        adv_test_accuracy=0.5 + seed / 10)  # fmt: skip

    printed = make_row(cell_id="p", source="published", published_source="neurips2020", profile="paper", defense="at",
                       test_lipschitz=3.0, adv_test_accuracy=0.9)  # fmt: skip
    rows = [*(ours("at", 9.0, seed) for seed in range(3)), ours("gr", 5.0, 0), printed]
    at_mean, gr, published = sorted(scatter_points(rows, "test_lipschitz"), key=lambda point: -point.x)
    assert (at_mean.x, at_mean.y, at_mean.n) == (10.0, pytest.approx(0.6), 3)
    assert at_mean.x_high == pytest.approx(10 + 4.302653 / 3**0.5, rel=1e-6)
    assert (gr.x_low, gr.x_high, gr.href) == (4.0, 6.0, "rows/gr-0.html")
    assert (published.published, published.series, published.panel) == (True, "AT", at_mean.panel)
    assert len({point.panel for point in scatter_points([*rows, *(dataclasses.replace(r, profile="short") for r in rows)],
                                                        "test_lipschitz")}) == 2  # fmt: skip


def test_numbers_that_only_the_arxiv_version_printed_are_points_and_those_of_both_versions_once() -> None:
    points = scatter_points(published_rows(), "test_lipschitz")
    panels = {point.panel for point in points}
    (unaugmented,) = [
        one for one in panels if one.startswith("cifar-10, wrn") and "pgd-10" in one and "flip" not in one
    ]
    assert {point.series: (point.x, point.y) for point in points if point.panel == unaugmented}["GR"] == (33.27, 0.1373)
    assert sum(point.panel == unaugmented for point in points) == 7
    svhn = [p for p in points if p.panel.startswith("svhn") and "dropout" not in p.panel and "pgd-10" in p.panel]
    assert sorted((p.series, p.x) for p in svhn) == [
        ("AT", 16.51), ("GR", 40.83), ("LLR", 61.64), ("Natural", 149.82), ("RST (lambda=2)", 23.17),
        ("TRADES (beta=1)", 18.75), ("TRADES (beta=3)", 10.15), ("TRADES (beta=6)", 5.2)]  # fmt: skip


def test_models_of_other_training_radii_are_separate_points() -> None:
    rows = [make_row(cell_id=f"c{e}", defense="at", train_norm="linf", train_epsilon=e, test_lipschitz=1 / e,
                     adv_test_accuracy=0.5) for e in (0.1, 0.2)]  # fmt: skip
    rows.append(make_row(cell_id="n", test_lipschitz=1.0, adv_test_accuracy=0.1))
    assert {point.series for point in scatter_points(rows, "test_lipschitz")} == {
        "AT, trained at linf 0.1",
        "AT, trained at linf 0.2",
        "Natural",
    }


# Charts ------------------------------------------------------------------------------------------------------------

POINTS = [Point(panel=f"panel {p}", series=f"{'a long name of a method ' * 3}{s}", x=x, y=0.5, n=1)
          for p in range(2) for s in range(40) for x in (0.1, 0.2)]  # fmt: skip


@pytest.mark.parametrize("choose", [True, False])
def test_legend_is_whole_and_tells_every_series_apart(choose: bool) -> None:
    import json

    chart = line_chart(POINTS, Axes(x="x", y="y"), choose=choose)
    assert chart is not None
    text = json.dumps(chart)
    layers = chart["layer"] if choose else chart["spec"]["layer"]
    marks = [layer["encoding"] for layer in layers if "shape" in layer["encoding"]]
    (colour, shape) = (marks[0][channel]["scale"]["range"] for channel in ("color", "shape"))
    assert len(set(zip(colour, shape))) == len(marks[0]["color"]["scale"]["domain"]) == 40
    assert (marks[0]["color"]["legend"]["labelLimit"], marks[0]["color"]["legend"]["symbolLimit"]) == (0, 0)
    assert marks[0]["color"]["legend"]["columns"] == 1  # such names fill a line
    assert "https://" not in text


def test_palette_is_of_distinct_colours_that_colour_blind_readers_tell_apart() -> None:
    """By the simulation of Vienot, Brettel and Mollon (1999): lightness or yellow against blue differ."""

    def simulated(colour: str) -> np.ndarray[Any, Any]:
        rgb = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]) ** 2.2
        to_cones = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
        deuteranope = np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]])
        seen = np.linalg.inv(to_cones) @ deuteranope @ to_cones @ rgb
        return np.clip(seen, 0, 1) ** (1 / 2.2)

    assert len(set(PALETTE)) == len(PALETTE) == 7
    assert len(set(SHAPES)) == len(SHAPES)
    for one, other in itertools.combinations(map(simulated, PALETTE), 2):
        assert np.abs(one - other).max() > 0.1
    assert len({(place % 7, place % 8) for place in range(56)}) == 56


@pytest.mark.parametrize(
    ("choose", "panels", "first"), [(False, 30, "24 of 30"), (True, 4001, "4,000 of 4,001"), (True, 9, "")]
)
def test_chart_says_that_points_are_left_out_and_offers_no_panel_without_any(
    choose: bool, panels: int, first: str
) -> None:
    points = [Point(panel=f"panel {place}", series="s", x=1.0, y=0.5, n=1) for place in range(panels)]
    chart = line_chart(points, Axes(x="x", y="y"), choose=choose)
    assert chart is not None
    assert chart.get("title", "").startswith(f"the first {first} points" if first else "")
    assert bool(chart.get("title")) == bool(first)
    drawn = {one["panel"] for records in chart["datasets"].values() for one in records}
    assert not choose or {*chart["params"][0]["bind"]["options"]} == drawn


@pytest.mark.parametrize("low", [-1.0, 0.0])
def test_interval_that_reaches_zero_stays_on_a_log_axis(low: float) -> None:
    points = [
        Point(panel="p", series="s", x=2.0, y=0.5, n=3, x_low=low, x_high=5.0),
        Point(panel="p", series="t", x=0.5, y=0.5, n=1),
    ]
    chart = scatter_chart(points, Axes(x="x", y="y", x_log=True))
    assert chart is not None
    (records,) = chart["datasets"].values()
    assert [(one["left"], one["right"]) for one in records] == [(0.5, 5.0), (0.5, 0.5)]


def test_caption_says_which_models_a_log_axis_leaves_out() -> None:
    points = [Point(panel="p", series="s", x=x, y=0.5, n=1) for x in (0.0, 2.0)]
    chart = scatter_chart(points, SUITE_FIGURES["lipschitz"].axes)
    assert chart is not None
    assert [[one["x"] for one in records] for records in chart["datasets"].values()] == [[2.0]]
    assert "Lipschitzness is 0" in SUITE_FIGURES["lipschitz"].caption


def test_caption_says_that_epochs_of_a_single_seed_have_no_interval() -> None:
    history = [EpochRecord(epoch=1, learning_rate=0.1, loss=1.0, accuracy=0.5)]
    points = SUITE_FIGURES["epochs"].points(Measured(rows=(), histories=[(make_row(), history)]))
    assert {(point.n, point.low) for point in points} == {(1, None)}
    assert SUITE_FIGURES["epochs"].caption.endswith("of a single seed none.")


def test_tooltips_write_both_ends_of_an_interval_alike_and_none_as_none() -> None:
    points = [
        Point(panel="p", series="s", x=2.0, y=0.5, n=3, low=0.41234, high=0.61239),
        Point(panel="p", series="t", x=0.5, y=0.5, n=1),
    ]
    for unit, expected in (("%", "41.2% to 61.2%"), ("", "0.4123 to 0.6124")):
        for made in (line_chart, scatter_chart):
            chart = made(points, Axes(x="x", y="y", y_unit=unit))
            assert chart is not None
            (records,) = chart["datasets"].values()
            assert [one["interval"] for one in records] == [expected, "none"]
            assert "{'field': 'interval', 'title': '95% interval', 'type': 'nominal'}" in str(chart)
            assert "'field': 'low'" not in str(chart)  # Vega would write a missing end as 0


def test_epochs_on_the_axis_have_no_exponent() -> None:
    history = [EpochRecord(epoch=e, learning_rate=0.1, loss=1.0, accuracy=0.5) for e in (1, 10, 100)]
    charts = suite_charts(Measured(rows=(), histories=[(make_row(), history)]), ("epochs",))
    formats = set(re.findall(r"'format': '([^']*g)'", str(charts)))
    assert formats == {".4~g"}  # with "~g" Vega chooses one digit, and writes 10 as 1e+1


def test_charts_without_points_are_left_out_and_each_has_a_title_and_what_it_needs() -> None:
    assert suite_charts(Measured(rows=[])) == {}
    charts = suite_charts(Measured(rows=[*models("at", grid("at")), *models("natural", grid("natural"))]))
    assert charts.keys() == {"epsilon", "tradeoff"}
    for figure in SUITE_FIGURES.values():
        assert all((figure.title, figure.caption, figure.needs))
