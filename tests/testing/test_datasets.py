"""The dataset checks pass a good dataset and catch planted bugs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from benchbench.contract import DatasetExtent, DatasetSplits, DataSource, Examples, data_digest
from benchbench.testing import ConformanceError, check_dataset


def split(size: int) -> Examples:
    pixels = torch.arange(size * 3 * 4 * 4) % 256
    return Examples(inputs=pixels.to(torch.uint8).view(size, 3, 4, 4), labels=torch.arange(size) % 3)


GOOD = DatasetSplits(train=split(30), test=split(12), classes=("ant", "bee", "cat"))


class Given:
    """Loads what a function makes of the good splits."""

    def __init__(self, change: Callable[[DatasetSplits], DatasetSplits]) -> None:
        self.change = change

    def load(self, source: DataSource) -> DatasetSplits:
        return self.change(GOOD)


def with_train(**changes: object) -> Given:
    return Given(lambda good: dataclasses.replace(good, train=dataclasses.replace(good.train, **changes)))


def shuffled(good: DatasetSplits) -> DatasetSplits:
    order = torch.randperm(len(good.train))
    train = Examples(inputs=good.train.inputs[order], labels=good.train.labels[order])
    return dataclasses.replace(good, train=train)


def regression(good: DatasetSplits) -> DatasetSplits:
    points = Examples(inputs=torch.linspace(-2, 2, 10)[:, None], labels=torch.linspace(0, 1, 10))
    infinite = float("inf")
    return DatasetSplits(train=points, test=points, classes=(), lower=-infinite, upper=infinite, task="regression")


def test_good_dataset_passes_with_everything_stated() -> None:
    check_dataset(Given(lambda good: good), input_shape=(3, 4, 4), classes=3, n_train=30, n_test=12)


def test_regression_on_features_passes() -> None:
    check_dataset(Given(regression), input_shape=(1,))


class Described(Given):
    def __init__(self, **extent: object) -> None:
        super().__init__(lambda good: good)
        self._extent = {"train": 30, "test": 12, "input_shape": (3, 4, 4), "classes": 3, **extent}

    def extent(self) -> DatasetExtent:
        return DatasetExtent(**self._extent)


def test_extent_that_holds_passes() -> None:
    check_dataset(Described())
    check_dataset(Described(bytes_per_input=48))


@pytest.mark.parametrize(
    "wrong", [{"train": 31}, {"test": 1}, {"input_shape": (4, 4, 3)}, {"classes": 2}, {"bytes_per_input": 192}]
)
def test_extent_that_does_not_hold_is_caught(wrong: dict[str, object]) -> None:
    with pytest.raises(ConformanceError, match="Described: extent"):
        check_dataset(Described(**wrong))


def test_source_is_handed_on(tmp_path) -> None:
    class NeedsRoot:
        def load(self, source: DataSource) -> DatasetSplits:
            assert source.root == tmp_path
            return GOOD

    check_dataset(NeedsRoot(), source=DataSource(root=tmp_path, cache=tmp_path))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (with_train(inputs=GOOD.train.inputs.double() / 255), "must be uint8 images or float32"),
        (with_train(inputs=GOOD.train.inputs.flatten(1)), "uint8 images must have shape (N, C, H, W)"),
        (with_train(inputs=GOOD.train.inputs.float()), "leave the box [0, 1]"),
        (with_train(inputs=torch.full((30, 3, 4, 4), float("nan"))), "NaN or infinite"),
        (with_train(inputs=GOOD.train.inputs[:, :1]), "train inputs have shape (1, 4, 4), test inputs (3, 4, 4)"),
        (with_train(labels=GOOD.train.labels + 1), "outside [0, 3)"),
        (with_train(labels=GOOD.train.labels.int()), "int64"),
        (with_train(labels=GOOD.train.labels[:-1]), "labels must have shape (30,)"),
        (with_train(labels=GOOD.train.labels.clamp(max=1)), "every class"),
        (Given(lambda good: dataclasses.replace(good, classes=("ant", "bee", "bee"))), "distinct names"),
        (Given(shuffled), "the same data"),
        (Given(lambda good: (good.train, good.test)), "DatasetSplits"),
        (object(), "a method `load`"),
    ],
)
def test_planted_bug_is_caught(dataset: Given, message: str) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_dataset(dataset)
    assert message in str(caught.value)


def test_stated_digest_is_that_of_the_rows() -> None:
    check_dataset(Given(lambda good: good), digest=data_digest(GOOD))


@pytest.mark.parametrize(
    "stated", [{"input_shape": (1, 4, 4)}, {"classes": 10}, {"n_train": 29}, {"n_test": 13}, {"digest": "f" * 64}]
)
def test_statement_that_does_not_hold_is_caught(stated: dict[str, object]) -> None:
    with pytest.raises(ConformanceError):
        check_dataset(Given(lambda good: good), **stated)
