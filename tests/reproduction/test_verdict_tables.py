"""Tables: order, grouping, bold, marks, and the published numbers beside ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sample_rows import make_row

from benchbench.leaderboard import Line, Table, paper_table, paper_tables, published_rows
from benchbench.records import Row


def _row(number: int, defense: str = "natural", options: str = "{}", **columns: Any) -> Row:
    return make_row(cell_id=f"c{number}", model_id=f"m{number}", defense=defense, defense_options=options, **columns)


def _methods(table: Table) -> list[str]:
    return [line.entries[0].text for line in table.lines]


def _bold(table: Table, key: str) -> list[bool]:
    place = [column.key for column in table.columns].index(key)
    return [line.entries[place].best for line in table.lines]


def _text(table: Table, line: Line, key: str) -> str:
    return line.entries[[column.key for column in table.columns].index(key)].text


def test_methods_come_in_the_papers_order_under_the_papers_names() -> None:
    rows = [
        _row(1, "mart", '{"beta":5.0}'),
        _row(2, "trades", '{"beta":10.0}'),
        _row(3, "trades", '{"beta":6.0,"steps":10}'),
        _row(4, "rst", '{"lam":0.5}'),
        _row(5, "at", '{"steps":10}'),
        _row(6, "llr", '{"lam":4.0,"mu":3.0}'),
        _row(7, "gr", '{"variant":"released"}'),
        _row(8),
        _row(9, "gr", '{"variant":"equation"}'),
    ]
    assert _methods(paper_table(rows)) == [
        "Natural",
        "GR (variant=equation)",
        "GR (variant=released)",
        "LLR",
        "AT",
        "RST (lambda=0.5)",
        "TRADES (beta=6)",
        "TRADES (beta=10)",
        "mart (beta=5)",
    ]


def test_best_values_are_bold_and_ties_together() -> None:
    rows = [
        _row(1, "natural", test_accuracy=0.9, test_lipschitz=5.0),
        _row(2, "at", test_accuracy=0.95, test_lipschitz=2.0),
        _row(3, "gr", test_accuracy=0.950001, test_lipschitz=7.0),
    ]
    table = paper_table(rows)
    assert _methods(table) == ["Natural", "GR", "AT"]
    assert _bold(table, "test_accuracy") == [False, True, True]
    assert _bold(table, "test_lipschitz") == [False, False, True]
    assert _bold(table, "gap") == [False, False, False]


def test_flagged_and_failed_rows_are_marked_and_never_best() -> None:
    rows = [
        _row(1, test_accuracy=0.9),
        _row(2, "at", test_accuracy=0.99, flags=("zero-gradients",)),
        _row(3, "gr", status="failed", error="out of memory"),
        _row(4, "llr", test_accuracy=0.8),
    ]
    table = paper_table(rows)
    assert _methods(table) == ["Natural", "GR ‡", "LLR", "AT †"]
    assert _bold(table, "test_accuracy") == [True, False, False, False]
    assert [_text(table, line, "test_accuracy") for line in table.lines] == ["90.00", "failed", "80.00", "99.00"]
    assert "† AT: zero-gradients" in table.notes
    assert "‡ failed: GR: out of memory" in table.notes


def test_single_row_is_not_called_the_best() -> None:
    assert _bold(paper_table([_row(1, test_accuracy=0.9)]), "test_accuracy") == [False]


def test_profiles_subsets_and_attacks_are_never_mixed() -> None:
    rows = [
        _row(1, profile="quick"),
        _row(2, profile="paper"),
        _row(3, attack="mt-20"),
        _row(4, n_test=999),
        _row(5, trained_on="train+test"),
        _row(6, epochs=9),
        _row(7, dropout=0.5),
    ]
    table = paper_table(rows)
    assert len(table.groups) == 7
    assert len({group.label for group in table.groups}) == 7
    assert sum("TEST SET INCLUDED" in group.label for group in table.groups) == 1
    assert "paper and quick profiles, apart" in table.title


def test_groups_that_differ_in_attack_options_alone_say_so() -> None:
    rows = [_row(1, attack_options='{"steps":10}'), _row(2, attack_options='{"steps":20}')]
    labels = [group.label for group in paper_table(rows).groups]
    assert "pgd-10 (steps=10)" in labels[0]
    assert "pgd-10 (steps=20)" in labels[1]


def test_rows_of_one_method_show_what_tells_them_apart() -> None:
    seeds = paper_table([_row(1, seed=0), _row(2, seed=1)], each_seed=True)
    assert _methods(seeds) == ["Natural, seed 0", "Natural, seed 1"]
    options = paper_table([_row(1, "at", '{"steps":7}'), _row(2, "at", '{"steps":10}')])
    assert _methods(options) == ["AT, options (steps=10)", "AT, options (steps=7)"]
    experiments = paper_table([_row(1, experiment="svhn"), _row(2, experiment="svhn-arxiv-v1")])
    assert _methods(experiments) == ["Natural, experiment svhn", "Natural, experiment svhn-arxiv-v1"]
    cells = paper_table([_row(1), _row(2)])
    assert _methods(cells) == ["Natural, cell c1", "Natural, cell c2"]


def test_ours_is_beside_the_published_number_and_a_note_states_the_difference_in_profile() -> None:
    ours = _row(1, "trades", '{"beta":6.0,"steps":10}', test_accuracy=0.98)
    table = paper_table([ours, *published_rows()], published=True)
    (group,) = table.groups
    lines = [line for line in group.lines if line.entries[0].text == "TRADES (beta=6)"]
    assert [_text(table, line, "reference") for line in lines] == ["ours", "NeurIPS 2020, table 2"]
    assert [_text(table, line, "test_accuracy") for line in lines] == ["98.00", "99.59"]
    assert len(group.lines) == 11
    assert any("full protocol" in note for note in table.notes)


def test_published_numbers_are_shown_only_on_request() -> None:
    table = paper_table([_row(1), *published_rows()])
    assert [line.source for line in table.lines] == ["measured"]
    assert "reference" not in [column.key for column in table.columns]
    assert paper_tables(published_rows()) == ()


def test_versions_of_the_paper_are_told_apart() -> None:
    svhn = [row for row in published_rows() if row.dataset == "svhn" and row.attack == "pgd-10"]
    table = paper_table(svhn, published=True, paper="arxiv-v1")
    assert len(list(table.lines)) == 7
    assert {_text(table, line, "reference") for line in table.lines} == {"arXiv v1, table 4"}


def test_number_that_two_tables_print_is_shown_once() -> None:
    table = paper_table(published_rows(), published=True)
    labels = [(group.label, line.entries[0].text) for group in table.groups for line in group.lines]
    assert len(labels) == len(set(labels))


def test_smaller_network_is_not_compared_with_the_published_one() -> None:
    common = {"dataset": "svhn", "epsilon": 0.031, "architecture": "wrn"}
    small = _row(1, architecture_options='{"depth":10,"dropout":0.0,"width":1}', **common)
    large = _row(2, architecture_options='{"depth":40,"dropout":0.0,"width":10}', **common)
    table = paper_table([small, large, *published_rows()], published=True)
    sources = {line.cell_id: {other.source for other in group.lines} for group in table.groups for line in group.lines}
    assert sources["c1"] == {"measured"}
    assert sources["c2"] == {"measured", "published"}


def test_regression_has_a_separate_table() -> None:
    rows = [_row(1), *published_rows()]
    classification, regression = paper_tables(rows, published=True, paper="arxiv-v1")
    assert "test_accuracy" in [column.key for column in classification.columns]
    assert [column.key for column in regression.columns][2:5] == ["train_mse", "test_mse", "adv_test_mse"]
    assert len(list(regression.lines)) == 14


def test_intervals_are_shown_on_request() -> None:
    row = _row(1, test_accuracy=0.9, test_accuracy_low=0.85, test_accuracy_high=0.93)
    (line,) = paper_table([row], intervals=True).lines
    assert line.entries[2].text == "90.00 [85.00, 93.00]"
    (plain,) = paper_table([row]).lines
    assert (plain.entries[2].text, plain.entries[2].low, plain.entries[2].high) == ("90.00", 0.85, 0.93)


def test_huge_numbers_have_an_exponent() -> None:
    row = _row(1, test_lipschitz=1e300, test_lipschitz_low=9.9e9, test_lipschitz_high=1e305)
    (line,) = paper_table([row], intervals=True).lines
    assert [entry.text for entry in line.entries if "e+" in entry.text] == ["1.00e+300 [9900000000.00, 1.00e+305]"]


def test_zero_has_no_sign() -> None:
    table = paper_table([_row(1, gap=-0.00001)])
    assert [_text(table, line, "gap") for line in table.lines] == ["0.00"]


def test_control_characters_in_names_never_reach_the_text() -> None:
    hostile = "evil\x1b[31m\nname\u202e"
    row = _row(1, hostile, flags=(hostile,), dataset=hostile, attack=hostile)
    table = paper_table([row])
    texts = [*_methods(table), *table.notes, *(group.label for group in table.groups)]
    assert all(text.isprintable() for text in texts)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_numbers_of_a_rounded_search_have_a_group_whose_label_says_so(precision: str) -> None:
    table = paper_table([_row(1, precision="float32"), _row(2, precision=precision)])
    assert sorted(f"searched in {precision}" in group.label for group in table.groups) == [False, True]


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_models_trained_in_rounded_numbers_have_a_group_whose_label_says_so(precision: str) -> None:
    table = paper_table([_row(1), _row(2, train_precision=precision)])
    assert sorted(f"trained in {precision}" in group.label for group in table.groups) == [False, True]


def test_rows_on_other_data_of_one_name_have_groups_whose_labels_differ() -> None:
    def row(scale: int) -> Row:
        dataset = {"dataset": {"name": "digits", "options": {"scale": scale}}}
        configuration = json.dumps({"training": dataset})
        return make_row(
            cell_id=f"scale-{scale}", dataset="digits", dataset_digest=f"d{scale}", configuration=configuration
        )

    groups = paper_table([row(1), row(2)]).groups
    assert [len(group.lines) for group in groups] == [1, 1]
    assert [group.label.split(", ")[0] for group in groups] == ["digits (scale=1)", "digits (scale=2)"]
    (alone,) = paper_table([row(1)]).groups
    assert alone.label.startswith("digits, ")
