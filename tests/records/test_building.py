"""Rows from cells and their measures."""

from __future__ import annotations

import json

import pytest
import torch
from sample_rows import make_cell

from benchbench.errors import DataError
from benchbench.records import Provenance, accuracy_interval, failed_row, measured_row

PROVENANCE = Provenance(device="cpu", versions={"torch": "2"}, git_commit=None, train_seconds=1.0, queries=10)


def test_measures_land_in_their_columns_and_others_in_extra() -> None:
    values = {"test_accuracy": 0.5, "gap": -0.1, "adv_train_mse": 2.0}
    row = measured_row(make_cell(), values=values, flags=["masked"], provenance=PROVENANCE)
    assert (row.test_accuracy, row.gap, row.extra, row.flags) == (0.5, -0.1, {"adv_train_mse": 2.0}, ("masked",))
    assert (row.status, row.git_commit, row.versions, row.queries) == ("ok", "", '{"torch":"2"}', 10)


def test_accuracies_get_the_interval_of_the_examples_they_were_measured_on() -> None:
    row = measured_row(make_cell(), values={"test_accuracy": 0.5, "train_accuracy": 0.8}, provenance=PROVENANCE)
    test, train = accuracy_interval(100, 200), accuracy_interval(40, 50)
    assert (row.test_accuracy_low, row.test_accuracy_high) == (test.low, test.high)
    assert (row.train_accuracy_low, row.train_accuracy_high) == (train.low, train.high)
    assert row.adv_test_accuracy_low is None


def test_lipschitz_gets_the_interval_of_the_examples_values() -> None:
    ratios = torch.linspace(1, 3, 200)
    row = measured_row(
        make_cell(), values={"test_lipschitz": 2.0}, per_example={"lipschitz": ratios}, provenance=PROVENANCE
    )
    assert row.test_lipschitz_low is not None
    assert row.test_lipschitz_high is not None
    assert 1.8 < row.test_lipschitz_low < 2.0 < row.test_lipschitz_high < 2.2


def test_configuration_of_the_cell_is_kept_whole() -> None:
    configuration = json.loads(measured_row(make_cell(), values={}, provenance=PROVENANCE).configuration)
    assert configuration["training"]["defense"]["options"] == {"beta": 6.0}
    assert configuration["training"]["recipe"]["learning_rate"] == 0.1


def test_values_that_are_not_finite_make_no_row() -> None:
    with pytest.raises(DataError, match="'test_lipschitz'"):
        measured_row(make_cell(), values={"test_lipschitz": float("nan")}, provenance=PROVENANCE)
    with pytest.raises(DataError, match="'extra'"):
        measured_row(make_cell(), values={"mine": float("nan")}, provenance=PROVENANCE)


def test_failed_row_keeps_any_error_text() -> None:
    row = failed_row(make_cell(), "bad name \udcff " + "x" * 9000, provenance=PROVENANCE)
    assert row.status == "failed"
    assert row.error.startswith("bad name ? xxx")
    assert len(row.error) <= 2000
    assert row.test_accuracy is None
