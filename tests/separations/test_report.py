from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchbench.contract import DatasetSplits, Examples
from benchbench.errors import DataError, OptionError
from benchbench.separations import measure

Arrays = Callable[..., tuple[NDArray, NDArray]]


def splits(size: int = 120, classes: int = 4) -> DatasetSplits:
    generator = torch.Generator().manual_seed(size)
    images = torch.randint(0, 256, (size + 30, 3, 5, 5), generator=generator, dtype=torch.uint8)
    labels = torch.arange(size + 30) % classes
    return DatasetSplits(
        train=Examples(inputs=images[:size], labels=labels[:size]),
        test=Examples(inputs=images[size:], labels=labels[size:]),
        classes=tuple("abcdefghij"[:classes]),
    )


def real_mnist(mnist: Arrays) -> DatasetSplits:
    train, test = (mnist(split, 60_000) for split in ("train", "t10k"))
    parts = [Examples(inputs=torch.tensor(images), labels=torch.tensor(labels)) for images, labels in (train, test)]
    return DatasetSplits(train=parts[0], test=parts[1], classes=tuple("0123456789"))


def test_report_has_the_statistics_of_the_definition(definition: Arrays) -> None:
    data = splits()
    report = measure(data, epsilon=0.1)
    train, labels = data.train.inputs.numpy(), data.train.labels.numpy()
    distance, index = definition(train, labels, train, labels)
    summary = report.train_train
    assert summary.minimum == distance.min() / 255
    assert summary.mean == pytest.approx(distance.mean() / 255)
    assert summary.radius == summary.minimum / 2
    assert sum(summary.histogram) == summary.examples == 120
    np.testing.assert_array_equal(summary.histogram, np.histogram(distance / 255, bins=20, range=(0, 1))[0])
    first = summary.closest[0]
    assert index[first.query] == first.reference
    assert first.distance == summary.minimum
    assert first.query_label != first.reference_label
    queries = data.test.inputs.numpy(), data.test.labels.numpy()
    assert report.test_train.minimum == definition(*queries, train, labels)[0].min() / 255


def test_closest_pairs_are_ordered_and_listed_once() -> None:
    closest = measure(splits(), pairs=30).train_train.closest
    assert len({frozenset((pair.query, pair.reference)) for pair in closest}) == 30
    assert [pair.distance for pair in closest] == sorted(pair.distance for pair in closest)


def test_excluded_examples_are_neither_queries_nor_neighbours() -> None:
    data = splits()
    data.train.inputs[21] = data.train.inputs[40]
    assert measure(data).train_train.minimum == 0.0
    report = measure(data, exclude=[21], pairs=500)
    assert report.train_train.minimum > 0.0
    assert report.train_train.examples == 119
    assert report.excluded == (21,)
    pairs = report.train_train.closest + report.test_train.closest
    assert 21 not in {pair.reference for pair in pairs}
    assert 21 not in {pair.query for pair in report.train_train.closest}
    for pair in pairs:
        assert pair.reference_label == data.train.labels[pair.reference]


def test_random_labels_are_repeatable_and_bring_classes_closer() -> None:
    data = splits()
    first, again, other = (measure(data, random_labels=True, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first.row()["labels"] == "random"


def test_two_epsilon_is_compared() -> None:
    data = splits()
    minimum = measure(data).train_train.minimum
    assert measure(data).train_train.exceeds_two_epsilon is None
    assert measure(data, epsilon=0.49 * minimum).train_train.exceeds_two_epsilon is True
    assert measure(data, epsilon=0.5 * minimum).train_train.exceeds_two_epsilon is False


def test_report_becomes_json() -> None:
    report = measure(splits(), epsilon=0.1)
    document = json.loads(json.dumps(report.to_dict()))
    assert document["train_train"]["minimum"] == report.train_train.minimum
    assert len(document["test_train"]["histogram"]) == 20
    assert document["test_train"]["closest"][0]["distance"] == report.test_train.minimum


def test_features_use_their_own_units() -> None:
    features = torch.tensor([[0.0, 0.0], [3.0, 1.0], [0.5, 0.0]])
    part = Examples(inputs=features, labels=torch.tensor([0, 1, 0]))
    report = measure(DatasetSplits(train=part, test=part, classes=("a", "b"), lower=-9.0, upper=9.0))
    assert report.train_train.minimum == 2.5
    assert report.train_train.edges[-1] == 3.0
    assert sum(report.train_train.histogram) == 3


def test_regression_and_bad_options_are_refused() -> None:
    part = Examples(inputs=torch.zeros(3, 1), labels=torch.zeros(3))
    with pytest.raises(DataError, match="regression"):
        measure(DatasetSplits(train=part, test=part, classes=(), task="regression"))
    with pytest.raises(OptionError, match=r"\[120\]"):
        measure(splits(), exclude=[3, 120])
    with pytest.raises(OptionError, match="epsilon"):
        measure(splits(), epsilon=-0.1)
    with pytest.raises(OptionError, match="pairs"):
        measure(splits(), pairs=-1)


@pytest.mark.slow
def test_mnist_gives_the_published_numbers(mnist: Arrays) -> None:
    report = measure(real_mnist(mnist), epsilon=0.1)
    assert report.train_train.minimum == 188 / 255
    assert report.test_train.minimum == 207 / 255
    printed = {name: f"{value:.3f}" for name, value in report.row().items() if name.endswith(("min", "mean"))}
    assert printed == {
        "train_train_min": "0.737",
        "train_train_mean": "0.990",
        "test_train_min": "0.812",
        "test_train_mean": "0.990",
    }
    assert report.train_train.exceeds_two_epsilon
