"""The table of a board: its order, what sets rows of one method apart, and its CSV."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from sample_rows import make_row
from site_samples import PUBLISHED, ROWS

from benchbench.report.boards import board_csv, board_data


def test_ours_are_beside_the_published_number_of_the_same_method() -> None:
    order = [row["id"] for row in board_data((*ROWS, PUBLISHED))["rows"]]
    assert order.index("published-1") == order.index("cell-at") + 1


def test_variation_shows_the_difference_between_rows_of_one_method() -> None:
    rows = [
        make_row(cell_id="seen", trained_on="train+test"),
        make_row(cell_id="bf16", precision="bf16", attack_options='{"variant":"released"}'),
        make_row(cell_id="trained", train_precision="bf16"),
        make_row(cell_id="small", dataset="staircase", n_train=40),
        make_row(cell_id="short", profile="short", augmentation="crop4+flip"),
    ]
    data = board_data(rows)
    keys = [column["key"] for column in data["columns"]]
    assert keys.index("profile") == keys.index("source") + 1
    variations = {row["id"]: row["cells"][keys.index("variation")] for row in data["rows"]}
    assert variations == {
        "seen": "TEST SET seen",
        "bf16": "attack: released, searched in bf16",
        "trained": "trained in bf16",
        "small": "40 training examples",
        "short": "crop4+flip",
    }


def test_variation_shows_a_difference_in_a_column_that_the_table_lacks() -> None:
    rows = [make_row(cell_id="short"), make_row(cell_id="long", epochs=9), make_row(cell_id="other", seed=1)]
    data = board_data(rows)
    place = [column["key"] for column in data["columns"]].index("variation")
    assert {row["id"]: row["cells"][place] for row in data["rows"]} == {
        "short": "epochs 2",
        "long": "epochs 9",
        "other": "",
    }


def test_networks_of_other_options_are_called_by_them() -> None:
    data = board_data([make_row(architecture="mlp", architecture_options='{"hidden":[64]}')])
    place = [column["key"] for column in data["columns"]].index("architecture")
    assert data["rows"][0]["cells"][place] == "mlp (hidden=[64])"


def test_gaps_of_regressions_are_squared_errors_in_columns_of_their_own() -> None:
    fit = make_row(cell_id="fit", dataset="staircase", test_mse=0.3, gap=0.25, adv_gap=0.5)
    data = board_data([make_row(cell_id="net", gap=0.01, adv_gap=0.02), fit])
    kinds = {column["key"]: column["kind"] for column in data["columns"]}
    shown = {
        row["id"]: {key: cell and cell[0] for key, cell in zip(kinds, row["cells"]) if "gap" in key}
        for row in data["rows"]
    }
    assert shown == {
        "net": {"gap": 0.01, "adv_gap": 0.02, "mse_gap": None, "adv_mse_gap": None},
        "fit": {"gap": None, "adv_gap": None, "mse_gap": 0.25, "adv_mse_gap": 0.5},
    }
    assert (kinds["gap"], kinds["mse_gap"], kinds["adv_mse_gap"]) == ("share", "number", "number")


def test_csv_holds_no_formula() -> None:
    record = next(csv.DictReader(io.StringIO(board_csv([make_row(experiment="=HYPERLINK(1)", error="a\nb")]))))
    assert record["experiment"] == "'=HYPERLINK(1)"
    assert record["error"] == "a\nb"


def test_measures_have_the_ends_of_their_intervals_and_gaps_newcombes() -> None:
    ends = {"train_accuracy_low": 0.8, "train_accuracy_high": 0.95, "test_accuracy_low": 0.6, "test_accuracy_high": 0.8}
    rows = [make_row(cell_id="ours", train_accuracy=0.9, test_accuracy=0.7, gap=0.2, **ends), PUBLISHED]
    data = board_data(rows)
    keys = [column["key"] for column in data["columns"]]
    ours, published = (dict(zip(keys, row["cells"])) for row in sorted(data["rows"], key=lambda row: str(row["id"])))
    assert ours["test_accuracy"] == [0.7, 0.6, 0.8]
    assert ours["gap"] == pytest.approx([0.2, 0.2 - np.hypot(0.1, 0.1), 0.2 + np.hypot(0.05, 0.1)])
    assert published["test_accuracy"][1:] == [None, None]
