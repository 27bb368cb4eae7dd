"""Verdicts on measured rows, their intervals, and the tables that show them."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from typing import Any

import pytest
from sample_rows import make_row

from benchbench.errors import UsageError
from benchbench.leaderboard import Line, Table, published_rows, render, table_document
from benchbench.leaderboard.spread import interval_of
from benchbench.records import Row, accuracy_interval
from benchbench.reproduction.papers import TABLES, find_table
from benchbench.reproduction.verdict_tables import comparison_table
from benchbench.reproduction.verdicts import OUTSIDE, UNEQUAL, is_of_method, judge, other_budget, tally

STEP = 1e-4  # 0.01 %
FULL = {"profile": "paper", "n_train": 60_000, "n_train_evaluated": 60_000, "n_test": 10_000, "epochs": 160}


def published(defense: str = "natural", options: str = "{}", table: str = "2", architecture: str = "cnn2") -> Row:
    (row,) = [
        row
        for row in published_rows()
        if (row.published_source, row.published_table, row.architecture) == ("neurips2020", table, architecture)
        and (row.defense, row.defense_options) == (defense, options)
    ]
    return row


def measured(test_accuracy: float, **columns: Any) -> Row:
    interval = accuracy_interval(round(test_accuracy * 10_000), 10_000)
    ends = {"test_accuracy_low": interval.low, "test_accuracy_high": interval.high}
    return make_row(**{**FULL, "test_accuracy": test_accuracy, **ends, **columns})


def line_of(table: Table, cell_id: str) -> Line:
    (line,) = [line for line in table.lines if line.cell_id == cell_id]
    return line


def test_equal_to_the_printed_digits_agrees_exactly() -> None:
    reference = dataclasses.replace(published(), test_accuracy=0.9951)
    assert judge([measured(0.99514)], reference, "test_accuracy", step=STEP) == "agrees exactly"
    assert judge([measured(0.99516)], reference, "test_accuracy", step=STEP) == "agrees"


def test_verdict_turns_where_the_interval_ends() -> None:
    row = measured(0.99)
    for end, outwards in ((row.test_accuracy_low or 0, -1), (row.test_accuracy_high or 0, 1)):
        near = dataclasses.replace(published(), test_accuracy=end + outwards * 0.4 * STEP)
        far = dataclasses.replace(published(), test_accuracy=end + outwards * 0.6 * STEP)
        assert judge([row], near, "test_accuracy", step=STEP) == "agrees"
        assert judge([row], far, "test_accuracy", step=STEP) == OUTSIDE


def test_one_run_without_an_interval_leaves_other_digits_open() -> None:
    row = make_row(**FULL, test_lipschitz=23.0)
    other = dataclasses.replace(published(), test_lipschitz=23.01)
    assert judge([row], other, "test_lipschitz", step=0.01) == UNEQUAL


def test_several_runs_are_judged_by_the_prediction_interval_of_a_further_run() -> None:
    runs = [measured(value, seed=seed) for seed, value in enumerate((0.990, 0.991, 0.992))]
    half = 4.302653 * 0.001 * math.sqrt(4 / 3)  # t with 2 degrees of freedom
    for side in (-1, 1):
        near = dataclasses.replace(published(), test_accuracy=0.991 + side * (half + 0.4 * STEP))
        far = dataclasses.replace(published(), test_accuracy=0.991 + side * (half + 0.6 * STEP))
        assert judge(runs, near, "test_accuracy", step=STEP) == "agrees"
        assert judge(runs, far, "test_accuracy", step=STEP) == "differs"


def test_several_runs_without_spread_prove_no_difference() -> None:
    runs = [measured(0.99, seed=seed) for seed in range(3)]
    assert judge(runs, dataclasses.replace(published(), test_accuracy=0.95), "test_accuracy", step=STEP) == UNEQUAL
    assert (
        judge(runs, dataclasses.replace(published(), test_accuracy=0.99), "test_accuracy", step=STEP)
        == "agrees exactly"
    )


def test_regression_on_the_published_draws_has_the_printed_digits_or_differs() -> None:
    reference = next(row for row in published_rows() if row.dataset == "staircase" and row.n_train == 40)
    ours = dataclasses.replace(reference, source="measured", test_mse=(reference.test_mse or 0) + 0.01)
    wide = dataclasses.replace(ours, extra={"test_mse_low": 0.0, "test_mse_high": 1.0})
    assert judge([wide], reference, "test_mse", step=1e-4) == "differs"
    assert judge([wide], reference, "train_mse", step=1e-4) == "agrees exactly"


def test_runs_of_one_configuration_are_above_their_mean_and_only_the_mean_is_judged() -> None:
    runs = [measured(v, seed=s, cell_id=f"run-{s}") for s, v in enumerate((0.990, 0.991, 0.992))]
    other = measured(0.9951, cell_id="other", epochs=3, profile="quick")
    table = comparison_table([*runs, other, *published_rows()], find_table("neurips2020", "2"), each_seed=True)
    place = [column.key for column in table.columns].index("test_accuracy")
    mean = next(line for line in table.lines if "3 seeds: mean" in line.entries[1].text)
    assert not any(line_of(table, f"run-{seed}").entries[place].verdict for seed in range(3))
    assert mean.entries[place].verdict == "agrees"  # published: 99.51
    assert mean.entries[place].text.split("\n") == ["99.10", "[98.60, 99.60]", "agrees"]
    assert tally(table)["agrees"] == 1
    assert line_of(table, "other").entries[place].verdict == "not comparable"


def test_several_seeds_have_one_line_their_mean_unless_each_is_asked_for() -> None:
    runs = [measured(v, seed=s, cell_id=f"run-{s}", profile="short") for s, v in enumerate((0.990, 0.992))]
    rows, number = [*runs, *published_rows()], find_table("neurips2020", "2")
    (line,) = [one for one in comparison_table(rows, number).lines if one.cell_id.startswith("run-")]
    assert (line.cell_id, line.entries[1].text) == ("run-0;run-1", "ours, short: not comparable, 2 seeds: mean")
    place = [column.key for column in comparison_table(rows, number).columns].index("test_accuracy")
    assert line.entries[place].text.split("\n") == ["99.10", "[96.90, 100.00]"]  # 99.10 -+ 12.706 * 0.1414 * sqrt(1.5)
    each = [one.cell_id for one in comparison_table(rows, number, each_seed=True).lines if "run-" in one.cell_id]
    assert each == ["run-0", "run-1", "run-0;run-1"]


def test_means_compete_for_the_best_value_and_a_flag_of_one_run_keeps_its_method_out() -> None:
    rows = [
        measured(
            value, cell_id=f"{defense}-{seed}", model_id=f"{defense}-{seed}", defense=defense, seed=seed, flags=flags
        )
        for defense, values, flags in (
            ("natural", (0.990, 0.970), ()),
            ("at", (0.985, 0.979), ()),
            ("gr", (0.999, 0.999), ("zero-gradients",)),
        )
        for seed, value in enumerate(values)
    ]
    table = comparison_table([*rows, *published_rows()], find_table("neurips2020", "2"))
    assert "98.20" in best(table, "test_accuracy")
    assert {"98.00", "99.90", "99.00"}.isdisjoint(best(table, "test_accuracy"))
    each = comparison_table([*rows, *published_rows()], find_table("neurips2020", "2"), each_seed=True)
    assert "99.00" in best(each, "test_accuracy")
    assert {"98.20", "98.00"}.isdisjoint(best(each, "test_accuracy"))


def test_failed_run_beside_finished_ones_is_left_out_of_their_mean() -> None:
    runs = [measured(v, seed=s, cell_id=f"run-{s}") for s, v in enumerate((0.990, 0.991))]
    failed = make_row(**FULL, cell_id="failed", seed=2, status="failed", error="diverged")
    table = comparison_table([*runs, failed, *published_rows()], find_table("neurips2020", "2"))
    assert sum("2 seeds: mean" in line.entries[1].text for line in table.lines) == 1
    assert tally(table)["agrees"] == 1


@pytest.mark.parametrize(
    "change", [{"profile": "quick"}, {"n_train": 2500}, {"n_test": 1000}, {"epochs": 3}, {"n_train_evaluated": 500}]
)
def test_other_budgets_are_never_judged(change: dict[str, Any]) -> None:
    row = measured(0.9951, **change)
    assert judge([row], published(), "test_accuracy", step=STEP) == "not comparable"
    assert other_budget(row, published())


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
@pytest.mark.parametrize(
    ("column", "source", "note"),
    [("precision", "{}", "searched in {}"), ("train_precision", "trained in {}", "trained in {}")],
)
def test_rows_searched_or_trained_in_rounded_numbers_are_marked_and_never_judged(
    column: str, source: str, note: str, precision: str
) -> None:
    row = measured(0.9951, cell_id="mine", **{column: precision})
    table = comparison_table([row, *published_rows()], find_table("neurips2020", "2"))
    assert judge([row], published(), "test_accuracy", step=STEP) == "not comparable"
    assert line_of(table, "mine").entries[1].text == f"ours, paper, {source.format(precision)}: not comparable"
    assert any(note.format(precision) in found for found in table.notes)


def test_regression_of_any_profile_is_comparable_when_data_and_sizes_are_those_of_the_paper() -> None:
    reference = next(row for row in published_rows() if row.dataset == "staircase" and row.n_train == 40)
    ours = dataclasses.replace(reference, source="measured", profile="quick", cell_id="mine")
    assert other_budget(ours, reference) == ""
    assert other_budget(dataclasses.replace(ours, n_test=50), reference)


def test_failed_and_unmeasured_values_are_told_apart() -> None:
    failed = make_row(**FULL, status="failed", error="out of memory")
    assert judge([failed], published(), "test_accuracy", step=STEP) == "failed"
    assert judge([make_row(**FULL)], published(), "test_accuracy", step=STEP) == "not run"
    unprinted = dataclasses.replace(published(), test_accuracy=None)
    assert judge([failed], unprinted, "test_accuracy", step=STEP) == ""


def test_gap_interval_is_newcombes_and_contains_the_gap() -> None:
    row = measured(0.99, train_accuracy=1.0, train_accuracy_low=0.999, train_accuracy_high=1.0, gap=0.01)
    found = interval_of(row, "gap")
    low = 0.01 - ((1.0 - 0.999) ** 2 + ((row.test_accuracy_high or 0) - 0.99) ** 2) ** 0.5
    high = 0.01 + (0.0 + (0.99 - (row.test_accuracy_low or 0)) ** 2) ** 0.5
    assert (found.low, found.high) == pytest.approx((low, high))
    assert interval_of(make_row(gap=0.01), "gap") is None


def test_variants_match_the_method_whose_options_the_paper_does_not_state() -> None:
    for variant in ("equation", "released"):
        row = make_row(defense="gr", defense_options=f'{{"beta":1.0,"variant":"{variant}"}}')
        assert is_of_method(published("gr"), row)
    assert not is_of_method(
        published("trades", '{"beta":6.0}'), make_row(defense="trades", defense_options='{"beta":1.0}')
    )


@pytest.mark.parametrize(
    "paper_table", [t for t in TABLES if t.kind in ("models", "staircase")], ids=lambda t: f"{t.paper}-{t.number}"
)
def test_every_table_shows_its_published_numbers_and_marks_those_not_run(paper_table: Any) -> None:
    table = comparison_table(published_rows(), paper_table)
    sources = [line.source for line in table.lines]
    mine = [
        r
        for r in published_rows()
        if (r.published_source, r.published_table) == (paper_table.paper, paper_table.number)
    ]
    assert sources.count("published") == len(mine) > 0
    assert sources.count("measured") == len(mine)
    printed = sum(getattr(r, c.key) is not None for r in mine for c in table.columns[2:])
    assert tally(table) == {"not run": printed}


def test_ours_is_below_the_published_line_with_interval_and_verdict() -> None:
    rows = [measured(0.9951, cell_id="mine"), *published_rows()]
    table = comparison_table(rows, find_table("neurips2020", "2"))
    entry = line_of(table, "mine").entries[[column.key for column in table.columns].index("test_accuracy")]
    assert entry.text.splitlines()[0] == "99.51"
    assert entry.text.splitlines()[1].startswith("[99.3")
    assert entry.text.splitlines()[2] == entry.verdict == "agrees exactly"


def best(table: Table, key: str) -> list[str]:
    place = [column.key for column in table.columns].index(key)
    return [line.entries[place].text.split("\n")[0] for line in table.lines if line.entries[place].best]


def test_best_of_the_published_and_of_ours_are_bold_and_one_alone_or_flagged_is_not() -> None:
    rows = [
        measured(0.97, cell_id="natural"),
        measured(0.98, cell_id="at", defense="at"),
        measured(0.98, cell_id="gr", defense="gr"),
        measured(0.999, cell_id="masked", model_id="masked", defense="llr", flags=("zero-gradients",)),
        measured(0.9999, cell_id="short", defense="at", profile="short", epochs=10),
    ]
    reference = comparison_table(published_rows(), find_table("neurips2020", "9"))
    table = comparison_table([*rows, *published_rows()], find_table("neurips2020", "2"))
    assert best(reference, "test_lipschitz") == ["2.86"]
    assert best(table, "test_accuracy").count("98.00") == 2
    assert {"97.00", "99.90", "99.99"}.isdisjoint(best(table, "test_accuracy"))


def test_quick_rows_are_shown_and_plainly_marked() -> None:
    rows = [measured(0.9951, cell_id="mine", profile="quick", n_train=2500, epochs=3), *published_rows()]
    table = comparison_table(rows, find_table("neurips2020", "2"))
    line = line_of(table, "mine")
    assert line.entries[1].text == "ours, quick: not comparable"
    assert {e.verdict for e in line.entries if e.verdict} == {"not comparable"}
    assert (
        "Not comparable: quick profile, 2,500 training examples (paper: 60,000), 3 epochs (paper: 160)." in table.notes
    )


def test_methods_that_the_paper_does_not_have_come_last_without_verdict() -> None:
    rows = [measured(0.98, cell_id="mine", defense="mart", defense_options='{"beta":5.0}'), *published_rows()]
    table = comparison_table(rows, find_table("neurips2020", "2"))
    line = line_of(table, "mine")
    assert line.entries[1].text == "ours, not published"
    assert not any(e.verdict for e in line.entries)


def test_models_that_saw_the_test_set_are_marked_in_the_table() -> None:
    table = comparison_table(published_rows(), find_table("neurips2020", "6"))
    assert "TEST SET" in table.title
    assert all("TEST SET INCLUDED" in group.label for group in table.groups)
    reference = next(
        row for row in published_rows() if (row.published_source, row.published_table) == ("neurips2020", "6")
    )
    ours = dataclasses.replace(reference, source="measured", published_source="", published_table="", cell_id="mine")
    note = "These models were trained on the TEST SET, too."
    assert note in comparison_table([ours, *published_rows()], find_table("neurips2020", "6")).notes
    assert note not in comparison_table([measured(0.99), *published_rows()], find_table("neurips2020", "2")).notes


def test_programs_get_verdicts_as_columns_and_as_a_map() -> None:
    rows = [measured(0.9951, cell_id="mine"), *published_rows()]
    table = comparison_table(rows, find_table("neurips2020", "2"))
    records = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    (ours,) = [record for record in records if record["cell_id"] == "mine"]
    assert (ours["test_accuracy"], ours["test_accuracy_verdict"]) == ("0.9951", "agrees exactly")
    lines = [line for group in table_document(table)["groups"] for line in group["rows"] if line["cell_id"] == "mine"]
    assert {key: verdict for key, verdict in lines[0]["verdicts"].items() if verdict != "not run"} == {
        "test_accuracy": "agrees exactly"
    }


@pytest.mark.parametrize(
    ("format", "sign"), [("markdown", "99.51<br>"), ("html", "99.51<br>"), ("latex", r"{@{}r@{}}99.51 \\")]
)
def test_lines_break_within_a_place_in_every_format_for_people(format: str, sign: str) -> None:
    table = comparison_table([measured(0.9951), *published_rows()], find_table("neurips2020", "2"))
    assert sign in render(table, format)


@pytest.mark.parametrize(("paper", "number"), [("neurips2020", "15"), ("neurips2020", "x"), ("arxiv-v1", "0")])
def test_unknown_number_is_answered_with_the_list_of_tables(paper: str, number: str) -> None:
    with pytest.raises(UsageError, match="CNN1") as caught:
        find_table(paper, number)
    assert f"table {number!r}" in str(caught.value)


def test_unknown_paper_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="neurips2020"):
        find_table("neurips2021", "1")
