"""The published numbers as rows."""

from __future__ import annotations

from collections import Counter

import pytest

from benchbench.contract.recipe import Augmentation
from benchbench.leaderboard import published_rows, published_separation
from benchbench.records import Row


def _find(**columns: object) -> Row:
    (row,) = [row for row in published_rows() if all(getattr(row, name) == value for name, value in columns.items())]
    return row


def test_all_published_rows_are_read() -> None:
    counts = Counter((row.published_source, row.dataset == "staircase", row.trained_on) for row in published_rows())
    assert counts == {
        ("neurips2020", False, "train"): 130,
        ("arxiv-v1", False, "train"): 83,
        ("arxiv-v1", True, "train"): 14,
        ("neurips2020", False, "train+test"): 3,
    }


def test_cells_of_published_rows_are_distinct_and_marked() -> None:
    rows = published_rows()
    assert len({row.cell_id for row in rows}) == len(rows) == 230
    assert all(row.cell_id.startswith("published-") and row.source == "published" for row in rows)
    assert {row.profile for row in rows} == {"paper"}


def test_trades_6_on_mnist_reads_as_in_table_2() -> None:
    row = _find(
        published_source="neurips2020",
        published_table="2",
        architecture="cnn2",
        defense="trades",
        defense_options='{"beta":6.0}',
    )
    assert (row.dataset, row.attack, row.norm, row.epsilon) == ("mnist", "pgd-10", "linf", 0.1)
    assert (row.n_train, row.n_test, row.epochs) == (60_000, 10_000, 160)
    assert (row.train_accuracy, row.test_accuracy, row.adv_test_accuracy) == (0.9961, 0.9959, 0.9873)
    assert (row.test_lipschitz, row.gap, row.adv_gap) == (1.36, 0.0002, 0.008)


def test_dropout_is_in_the_column_and_in_the_options() -> None:
    row = _find(
        published_source="neurips2020", published_table="4", dataset="svhn", dropout=0.5, defense="trades",
        defense_options='{"beta":6.0}',
    )  # fmt: skip
    assert row.architecture_options == '{"depth":40,"dropout":0.5,"width":10}'
    assert (row.train_accuracy, row.test_accuracy, row.gap) == (None, 0.9346, 0.0045)


def test_staircase_rows_hold_squared_errors() -> None:
    row = _find(dataset="staircase", n_train=40, defense="natural")
    assert (row.train_mse, row.test_mse, row.adv_test_mse) == (0.0059, 0.0192, 0.1926)
    assert (row.test_lipschitz, row.gap, row.n_test, row.epsilon) == (1.2872, 0.0133, 10_000, 1 / 3)
    assert row.test_accuracy is None


def test_proof_of_concept_is_marked_as_trained_on_the_test_set() -> None:
    row = _find(trained_on="train+test", dataset="svhn")
    assert (row.test_accuracy, row.adv_test_accuracy, row.defense_options) == (1.0, 0.999, '{"lam":2.0}')
    assert (row.epochs, row.configuration) == (
        60,
        '{"batch_size":"64","epochs":"60","learning_rate":"0.001","optimizer":"Adam"}',
    )


def test_augmentations_are_labelled_as_recipes_label_them() -> None:
    labels = {(row.dataset, row.augmentation) for row in published_rows()}
    assert ("cifar-10", Augmentation(padding=4, flip=True).label) in labels
    assert ("restricted-imagenet", Augmentation(padding=8, crop=64).label) in labels
    assert {label for dataset, label in labels if dataset in ("mnist", "svhn", "staircase")} == {"none"}


def test_models_attacked_twice_share_their_model_id() -> None:
    pair = [
        row
        for row in published_rows()
        if (row.published_source, row.dataset, row.architecture, row.defense) == ("neurips2020", "mnist", "cnn1", "at")
    ]
    assert {row.attack for row in pair} == {"pgd-10", "mt-20"}
    assert len({row.model_id for row in pair}) == 1


def test_separation_is_that_of_table_8() -> None:
    assert len(published_separation()) == 8
    (mnist,) = [line for line in published_separation() if (line.dataset, line.labels) == ("mnist", "original")]
    assert (mnist.train_train_min, mnist.train_train_mean) == (0.737, 0.990)
    assert (mnist.test_train_min, mnist.test_train_mean) == (0.812, 0.990)


@pytest.mark.parametrize("suite", ["mine", ""])
def test_other_suites_have_nothing_published(suite: str) -> None:
    assert published_rows(suite) == ()
