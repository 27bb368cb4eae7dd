"""The identity columns: every column is in the keys, and distinguishes labels."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from sample_rows import make_cell, make_row

from benchbench.leaderboard.identity import BALL, COLUMNS, MODEL, RUNS, SETTING, recipe, tell_apart, training, values

LABELS = {"cell_id", "model_id", "source", "experiment"}  # digests of the others, or names that change no number


def test_every_identity_column_of_a_cell_is_in_the_keys_once() -> None:
    expected = {*make_cell().identity(), "precision"} - LABELS
    assert Counter(COLUMNS) == Counter(expected)
    assert {*MODEL, *RUNS, *SETTING, *BALL} == expected


@pytest.mark.parametrize("column", [name for name in COLUMNS if name != "seed"])
def test_two_rows_that_differ_in_one_column_are_never_called_the_same(column: str) -> None:
    other: dict[str, Any] = {"dropout": 0.5, "epsilon": 0.2, "train_epsilon": 0.2, "dataset_digest": "ab" * 32}
    other |= dict.fromkeys(("n_train", "n_validation", "n_extra", "n_train_evaluated", "n_test", "epochs"), 7)
    other |= dict.fromkeys(("architecture_options", "defense_options", "attack_options"), '{"a":1}')
    rows = [make_row(cell_id="one"), make_row(cell_id="two", **{column: other.get(column, "other")})]
    one, two = tell_apart(["model", "model"], rows)
    assert one != two
    assert column.removesuffix("_options").replace("_", " ") in two


def test_models_are_comparable_however_they_were_selected_and_averaged() -> None:
    one = make_row()
    other = make_row(checkpoint_selection="best-robust", weight_averaging="ema-0.99", n_train=98, n_validation=2)
    assert values(one, BALL) == values(other, BALL)
    assert values(one, SETTING) != values(other, SETTING)


def test_labels_that_differ_already_stay_as_they_are() -> None:
    rows = [make_row(), make_row(epsilon=0.2)]
    assert tell_apart(["a", "b"], rows) == ["a", "b"]


def test_code_of_a_method_tells_methods_apart_and_not_settings_with_several_methods() -> None:
    stated = [json.dumps({"training": {"defense": {"sources": sources}}}) for sources in ("aa", "bb")]
    rows = [make_row(configuration=one, n_train=n, cell_id=str(n)) for n, one in enumerate(stated, start=10)]
    assert tell_apart(["x", "x"], rows) == ["x, n train 10, sources aa", "x, n train 11, sources bb"]
    assert tell_apart(["x", "x"], rows, SETTING) == ["x, n train 10", "x, n train 11"]


def test_rows_that_differ_in_no_column_show_their_cells() -> None:
    rows = [make_row(cell_id="one"), make_row(cell_id="two")]
    assert tell_apart(["model", "model"], rows) == ["model, cell one", "model, cell two"]


def test_training_is_the_configuration_but_for_the_seed() -> None:
    rows = [
        make_row(
            configuration=json.dumps({"training": {"seed": seed, "recipe": {"learning_rate": rate}, "revision": 2}})
        )
        for seed, rate in ((0, 0.1), (1, 0.1), (0, 0.2))
    ]
    first, again, other = map(training, rows)
    assert first == again != other
    assert recipe(rows[0]) == '{"learning_rate":0.1}'
    assert training(make_row()) == training(make_row(configuration="damaged")) == "{}"
