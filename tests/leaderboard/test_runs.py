"""Rows over seeds as one line: means, deviations and intervals by another computation, and which lines are the best."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import random
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_rows import make_cell, make_row

from benchbench.cell.model import Cell, Component, to_json
from benchbench.contract import Threat
from benchbench.errors import UsageError
from benchbench.leaderboard import FORMATS, Table, paper_table, paper_tables, render
from benchbench.leaderboard.filtering import narrowed
from benchbench.leaderboard.runs import Runs, runs_of
from benchbench.leaderboard.spread import interval_of, seed_spread
from benchbench.records import Row, Rows


def seeds(values: list[float | None], **columns: Any) -> list[Row]:
    """A row for each value, under seeds 0, 1, ...: the accuracy under attack, None for a failed run."""
    name = f"{columns.get('defense', 'natural')}-{columns.get('epsilon', 0.1)}"
    return [
        make_row(
            cell_id=f"{name}-{seed}",
            model_id=f"{name}-{seed}",
            seed=seed,
            adv_test_accuracy=value,
            test_accuracy=value,
            status="failed" if value is None else "ok",
            error="it broke" if value is None else "",
            **columns,
        )
        for seed, value in enumerate(values)
    ]


def line_of(table: Table, label: str) -> dict[str, Any]:
    """A line's entries by column."""
    (line,) = [line for line in table.lines if str(line.entries[0].value).startswith(label)]
    return {column.key: entry for column, entry in zip(table.columns, line.entries)} | {"line": line}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=5), min_size=1, max_size=4))
def test_mean_deviation_and_interval_are_those_of_the_values(found: list[list[float | None]]) -> None:
    rows = [row for place, of in enumerate(found) for row in seeds(of, defense=f"method-{place}")]
    random.Random(0).shuffle(rows)
    table = paper_table(rows)
    for place, of in enumerate(found):
        known = [value for value in of if value is not None]
        entries = line_of(table, f"method-{place}")
        entry = entries["adv_test_accuracy"]
        if "seeds" in entries:
            assert entries["seeds"].value == len(known)
        if not known:
            assert (entry.value, entry.text, entries["line"].status) == (None, "failed", "failed")
            continue
        assert entry.value == pytest.approx(statistics.fmean(known), abs=1e-12)
        if len(known) == 1:
            assert entry.deviation is None
            continue
        assert entry.deviation == pytest.approx(statistics.stdev(known), abs=1e-9)
        assert entry.text == f"{100 * statistics.fmean(known):.2f} ± {100 * entry.deviation:.2f}"
        spread = seed_spread(known, "adv_test_accuracy")
        assert (entry.low is None) == (spread.low is None)
        if spread.low is not None:
            assert (entry.low, entry.high) == (pytest.approx(spread.low), pytest.approx(spread.high))


def test_interval_over_seeds_stays_within_what_the_measure_can_be() -> None:
    rows = seeds([0.97, 0.999], test_lipschitz=3.0, adv_gap=0.5)
    changed = [dataclasses.replace(row, test_lipschitz=3.0 + 2 * at, adv_gap=0.5 * at) for at, row in enumerate(rows)]
    line = line_of(paper_table(changed), "Natural")
    assert (line["adv_test_accuracy"].low > 0.7, line["adv_test_accuracy"].high) == (True, 1.0)
    assert (line["test_lipschitz"].low, line["test_lipschitz"].high) == (
        0.0,
        pytest.approx(4.0 + 12.706 * 1.0, rel=1e-4),
    )
    assert line["adv_gap"].low < -1.0  # a difference has no such end


def test_interval_of_three_seeds_is_that_of_a_table_of_students_t() -> None:
    entry = line_of(paper_table(seeds([0.5, 0.6, 0.7])), "Natural")["adv_test_accuracy"]
    assert entry.high - entry.value == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)


def test_single_seed_keeps_its_value_and_interval_to_the_bit() -> None:
    row = make_row(test_accuracy=1 / 3, test_accuracy_low=0.3, test_accuracy_high=0.4, train_accuracy=0.7,
                   train_accuracy_low=0.6, train_accuracy_high=0.8, gap=0.7 - 1 / 3)  # fmt: skip
    entries = line_of(paper_table([row]), "Natural")
    assert (entries["test_accuracy"].value, entries["test_accuracy"].low) == (1 / 3, 0.3)
    assert "seeds" not in entries
    interval = interval_of(row, "gap")
    assert interval is not None
    assert (entries["gap"].low, entries["gap"].high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_a_single_seed_also_shows_intervals_that_have_no_columns() -> None:
    ends = {"test_mse_low": 0.2, "test_mse_high": 0.4, "tide": 3.0, "tide_low": 2.0, "tide_high": 5.0}
    row = make_row(dataset="staircase", test_mse=0.3, test_accuracy=None, adv_test_accuracy=None, extra=ends)
    entries = line_of(paper_table([row], task="regression", intervals=True, extra=["tide"]), "Natural")
    assert (entries["test_mse"].text, entries["tide"].text) == ("0.3000 [0.2000, 0.4000]", "3.0000 [2.0000, 5.0000]")


def test_a_mean_beyond_floating_point_is_absent() -> None:
    rows = [dataclasses.replace(row, test_lipschitz=1.7e308) for row in seeds([0.5, 0.6])]
    (line,) = json.loads(render(paper_table(rows), "json"))["groups"][0]["rows"]
    assert (line["test_lipschitz"], "test_lipschitz" in line["deviations"]) == (None, False)


def test_seeds_on_request_are_a_line_each() -> None:
    rows = seeds([0.5, 0.6])
    assert len(list(paper_table(rows).lines)) == 1
    labels = [line.entries[0].value for line in paper_table(rows, each_seed=True).lines]
    assert labels == ["Natural, seed 0", "Natural, seed 1"]


def test_line_of_several_seeds_has_their_cells_flags_and_failures() -> None:
    rows = seeds([0.5, None, 0.7])
    rows[2] = dataclasses.replace(rows[2], flags=("zero-gradients",))
    table = paper_table(rows)
    entries = line_of(table, "Natural")
    assert entries["line"].cell_id == "natural-0.1-0;natural-0.1-1;natural-0.1-2"
    assert (entries["line"].status, entries["line"].flags, entries["seeds"].value) == ("ok", ("zero-gradients",), 2)
    assert entries["defense"].text == "Natural ‡"
    assert {"† Natural: zero-gradients", "‡ failed: Natural: it broke"} <= {*table.notes}


# Which rows are runs of one configuration --------------------------------------------------------------------------


def recorded(cell: Cell) -> Row:
    return make_row(**cell.identity() | {"source": "measured"}, configuration=to_json(cell))


def test_runs_differ_in_the_seed_and_in_nothing_else_of_their_configuration() -> None:
    first = make_cell(seed=0)
    recipe = dataclasses.replace(first.training.recipe, learning_rate=0.5)
    other = dataclasses.replace(first, training=dataclasses.replace(first.training, recipe=recipe, seed=1))
    again = dataclasses.replace(first, experiment="other", training=dataclasses.replace(first.training, seed=2))
    metrics = dataclasses.replace(first.evaluation, metrics=(first.evaluation.attack,))
    measured = dataclasses.replace(again, evaluation=metrics)
    rows = Rows.of(map(recorded, (first, other, again, measured)))
    assert runs_of(rows).tolist() == [0, 1, 0, 3]


@pytest.mark.parametrize("defense", ["natural", "at"])
def test_a_seed_recorded_by_an_older_version_is_of_the_same_run(defense: str) -> None:
    method = Component(kind="defense", name=defense, options={}, distribution="benchbench", version="0.1.0")
    threat = None if defense == "natural" else Threat(epsilon=0.1)
    older, newer = (recorded(make_cell(seed=seed, defense=method, threat=threat)) for seed in range(2))
    document = json.loads(older.configuration)  # its one threat was training's, used or not
    document["training"]["threat"] = document["evaluation"].pop("threat")
    rows = [dataclasses.replace(older, configuration=json.dumps(document, sort_keys=True)), newer]
    assert runs_of(Rows.of(rows)).tolist() == [0, 0]


def test_two_rows_of_one_seed_are_two_lines() -> None:
    rows = Rows.of([*seeds([0.5, 0.6]), make_row(cell_id="more", adv_test_accuracy=0.1)])
    assert runs_of(rows).tolist() == [0, 0, 2]


def test_published_rows_are_no_runs() -> None:
    rows = [make_row(cell_id=f"published-{n}", source="published", seed=n, test_accuracy=0.5) for n in range(2)]
    assert runs_of(Rows.of(rows)).tolist() == [0, 1]
    assert runs_of(Rows.of([])).tolist() == []


def test_models_trained_at_other_radii_are_told_apart_in_a_table_of_one_radius() -> None:
    rows = [row for trained in (0.1, 0.2) for row in seeds([0.5, 0.6], defense="at", train_epsilon=trained)]
    rows = [dataclasses.replace(row, cell_id=f"{row.cell_id}-{row.train_epsilon}") for row in rows]
    labels = [line.entries[0].value for line in paper_table(rows).lines]
    assert labels == ["AT, trained at linf 0.1", "AT, trained at linf 0.2"]


# The best ----------------------------------------------------------------------------------------------------------


def bests(rows: list[Row], key: str = "adv_test_accuracy") -> set[str]:
    table = paper_table(rows)
    place = [column.key for column in table.columns].index(key)
    return {str(line.entries[0].value) for line in table.lines if line.entries[place].best}


def test_luckiest_seed_is_not_the_best() -> None:
    rows = [*seeds([0.1, 0.11, 0.99], defense="at"), *seeds([0.7, 0.71, 0.72])]
    assert bests(rows) == {"Natural", "AT"}  # the interval of AT, from -0.87 on, says nothing
    assert bests([*seeds([0.6, 0.61, 0.62], defense="at"), *seeds([0.7, 0.71, 0.72])]) == {"Natural"}


def test_lines_whose_interval_reaches_the_best_one_are_as_good() -> None:
    def one(defense: str, value: float, low: float, high: float) -> Row:
        ends = {"test_accuracy_low": low, "test_accuracy_high": high}
        return make_row(cell_id=defense, model_id=defense, defense=defense, test_accuracy=value, **ends)

    rows = [one("at", 0.8, 0.7, 0.85), one("trades", 0.75, 0.69, 0.8), one("gr", 0.6, 0.5, 0.69)]
    assert bests(rows, "test_accuracy") == {"AT", "TRADES"}
    flagged = dataclasses.replace(rows[0], flags=("zero-gradients",))
    assert bests([flagged, *rows[1:]], "test_accuracy") == {"TRADES", "GR"}


def test_lowest_is_best_where_low_is_good() -> None:
    rows = [make_row(cell_id=d, defense=d, test_lipschitz=v, test_lipschitz_low=v - 1, test_lipschitz_high=v + 1)
            for d, v in (("at", 3.0), ("trades", 4.5), ("gr", 9.0))]  # fmt: skip
    assert bests(rows, "test_lipschitz") == {"AT", "TRADES"}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 20), st.booleans(), st.booleans()), min_size=1, max_size=6)
)
def test_best_lines_are_those_of_the_definition(found: list[tuple[int, int, bool, bool]]) -> None:
    rows = [
        make_row(
            cell_id=f"m{n}",
            model_id=f"m{n}",
            defense=f"m{n}",
            test_accuracy=value / 100,
            test_accuracy_low=max(0, value - half) / 100 if known else None,
            test_accuracy_high=min(100, value + half) / 100 if known else None,
            flags=("x",) if flagged else (),
        )
        for n, (value, half, known, flagged) in enumerate(found)
    ]
    ends = {
        f"m{n}": (value, max(0, value - half) if known else None, min(100, value + half) if known else None)
        for n, (value, half, known, flagged) in enumerate(found)
        if not flagged
    }
    top = max((value for value, _, _ in ends.values()), default=0)
    reached = [low for value, low, _ in ends.values() if value == top and low is not None]
    expected = {
        name
        for name, (value, _, high) in ends.items()
        if value == top or (high is not None and reached and high >= max(reached))
    }
    marked = {name.removesuffix(" †") for name in bests(rows, "test_accuracy")}
    assert marked == (expected if len(ends) > 1 else set())


# Sorting, choosing, formats ----------------------------------------------------------------------------------------


def test_lines_are_sorted_within_their_group_best_first_and_missing_values_last() -> None:
    rows = [
        *seeds([0.1], epsilon=0.1),
        *seeds([0.5], defense="at"),
        *seeds([None], defense="gr"),
        *seeds([0.9], epsilon=0.2),
    ]
    (table,) = paper_tables(rows, sort="adv_test_accuracy")
    found = [[line.entries[0].value for line in group.lines] for group in table.groups]
    assert found == [["AT", "Natural", "GR"], ["Natural"]]
    (cut,) = paper_tables(rows, sort="adv_test_accuracy", most=1)
    assert ([line.entries[0].value for line in cut.lines], cut.left_out) == (["AT"], 3)
    (lowest,) = paper_tables([make_row(cell_id=f"c{v}", defense=f"m{v}", gap=v / 10) for v in (3, 1, 2)], sort="gap")
    assert [line.entries[0].value for line in lowest.lines] == ["m1", "m2", "m3"]


def test_unknown_column_to_sort_by_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no column 'adv_test_acuracy'") as caught:
        paper_tables(seeds([0.1]), sort="adv_test_acuracy")
    assert "adv_test_accuracy" in caught.value.hint


def test_rows_are_chosen_by_column_and_by_option() -> None:
    rows = Rows.of(
        [
            *seeds([0.1, 0.2]),
            *seeds([0.1, 0.2], defense="trades", defense_options='{"beta":6.0}'),
            make_row(cell_id="published-1", source="published", published_source="neurips2020", defense="trades"),
        ]
    )

    def chosen(**only: str) -> list[str]:
        return narrowed(rows, {key: tuple(value.split("|")) for key, value in only.items()}).values("cell_id")

    assert chosen(beta="6") == ["trades-0.1-0", "trades-0.1-1"]
    assert chosen(defense="natural") == ["natural-0.1-0", "natural-0.1-1"]
    assert chosen(seed="1", defense="trades") == ["trades-0.1-1", "published-1"]  # papers state no seed
    assert chosen(epsilon="1/10", attack="pgd-10") == rows.values("cell_id")


@pytest.mark.parametrize(
    ("only", "message", "hint"),
    [
        ({"defense": ("tradse",)}, "no row has this defense", "trades"),
        ({"defence": ("trades",)}, "unknown column or option 'defence'", "defense"),
        ({"beta": ("7",)}, "no row has this beta", "6.0"),
        ({"defense": ("natural",), "beta": ("6",)}, "no row matches all", "drop one"),
    ],
)
def test_filter_that_no_row_passes_is_answered(only: dict[str, tuple[str, ...]], message: str, hint: str) -> None:
    rows = Rows.of([*seeds([0.1]), *seeds([0.1], defense="trades", defense_options='{"beta":6.0}')])
    with pytest.raises(UsageError, match=message) as caught:
        narrowed(rows, only)
    assert hint in caught.value.hint


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_every_format_has_mean_and_deviation(format: str) -> None:
    text = render(paper_table([*seeds([0.5, 0.6, 0.7]), *seeds([0.2], defense="at")]), format)
    if format == "json":
        natural = json.loads(text)["groups"][0]["rows"][0]
        assert (natural["seeds"], natural["adv_test_accuracy"]) == (3, pytest.approx(0.6))
        assert natural["deviations"]["adv_test_accuracy"] == pytest.approx(0.1)
    elif format == "csv":
        natural, at = csv.DictReader(io.StringIO(text))
        assert float(natural["adv_test_accuracy_deviation"]) == pytest.approx(0.1)
        assert (natural["seeds"], at["seeds"], at["adv_test_accuracy_deviation"]) == ("3", "1", "")
    else:
        mark = r"\textpm{}" if "latex" in format else "±"
        assert f"60.00 {mark} 10.00" in text


def test_values_of_plugins_are_averaged_too() -> None:
    rows = [dataclasses.replace(row, extra={"noise": float(row.seed)}) for row in seeds([0.5, 0.6, 0.7])]
    entry = line_of(paper_table(rows, extra=["noise"]), "Natural")["noise"]
    assert (entry.value, entry.deviation) == (1.0, 1.0)


def test_a_run_of_equal_values_has_no_deviation_and_no_interval() -> None:
    runs = Runs(Rows.of(seeds([0.7, 0.7])), np.zeros(2, dtype=np.int64))
    measured = runs.measured("adv_test_accuracy")
    assert (measured.mean[0], measured.deviation[0]) == (0.7, 0.0)
    assert np.isnan([measured.low[0], measured.high[0]]).all()


def test_deviation_beyond_float64_is_unknown() -> None:
    """Any finite Lipschitz constant is a valid one, and JSON has no infinity."""
    rows = [dataclasses.replace(row, test_lipschitz=10.0**300 * row.seed) for row in seeds([0.5, 0.5, 0.5])]
    (line,) = json.loads(render(paper_table(rows), "json"))["groups"][0]["rows"]
    assert (line["test_lipschitz"], line["deviations"].get("test_lipschitz")) == (1e300, None)


def test_heading_of_a_group_says_how_its_weights_were_chosen() -> None:
    trained: list[dict[str, Any]] = [
        {},
        {"weight_averaging": "ema-0.99", "n_train": 90, "n_validation": 10, "checkpoint_selection": "best-robust"},
        {"weight_averaging": "ema-0.995", "n_train": 90, "n_validation": 10, "checkpoint_selection": "best-robust"},
    ]
    rows = [make_row(cell_id=str(n), model_id=str(n), n_train=100) for n in range(3)]
    table = paper_table([dataclasses.replace(row, **how) for row, how in zip(rows, trained)])
    plain, *averaged = sorted((group.label for group in table.groups), key=len)
    assert "held out" not in plain
    assert "weights" not in plain
    ends = [f"10 held out, ema-{decay} weights, best-robust checkpoint" for decay in ("0.99", "0.995")]
    assert [label.endswith(end) for label, end in zip(averaged, ends)] == [True, True]


def test_rows_with_other_configurations_are_no_runs_of_each_other() -> None:
    """The last seed in the text is the training's only in sorted JSON: rows in another order are parsed."""

    def configured(seed: int, **training: Any) -> str:
        return to_json({"evaluation": {"seed": None}, "training": {"seed": seed, "threat": {}, **training}})

    texts = [configured(0), configured(1), configured(2, recipe={"epochs": 9}), configured(3)]
    texts += ['{"training": {"seed": 4, "threat": {}}, "evaluation": {"seed": null}}']
    texts += [text.replace('"seed":5,', '"seed":0,"note":{"seed":5,"a":1},') for text in [configured(5)]]
    rows = [
        dataclasses.replace(row, seed=seed, configuration=text)
        for seed, (row, text) in enumerate(zip(seeds([0.5] * len(texts)), texts))
    ]
    assert runs_of(Rows.of(rows)).tolist() == [0, 0, 2, 0, 0, 5]
    assert runs_of(Rows.of([*rows[:2], rows[3]])).tolist() == [0, 0, 0]


def test_configurations_of_seeds_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        dataclasses.replace(row, configuration=to_json({"training": {"seed": row.seed, "threat": {}}}))
        for row in seeds([0.5, 0.6, 0.7])
    ]
    monkeypatch.setattr("benchbench.leaderboard.runs.parse_options", lambda text: pytest.fail("parsed"))
    assert runs_of(Rows.of(rows)).tolist() == [0, 0, 0]
