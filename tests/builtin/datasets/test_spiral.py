"""The spiral: two classes, apart by a known distance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from benchbench.builtin.datasets.spiral import END, Spiral
from benchbench.contract import DataSource, Examples, OptionError


def nearest_other_class(examples: Examples) -> float:
    points, labels = examples.inputs.numpy(), examples.labels.numpy()
    distances, _ = cKDTree(points[labels == 0]).query(points[labels == 1], p=np.inf)
    return float(distances.min())


def test_spirals_turned_by_half_a_turn_are_separated(source: DataSource) -> None:
    assert nearest_other_class(Spiral(n_train=5000, start=2.0).load(source).train) > 1.4
    assert nearest_other_class(Spiral(n_train=5000, start=1.0).load(source).train) > 0.93


def test_spirals_as_printed_in_the_paper_are_not_separated(source: DataSource) -> None:
    turned = Spiral(n_train=5000, start=2.0).load(source).train
    positive = turned.labels == 1
    mirrored = turned.inputs.clone()
    mirrored[positive, 0] = 0.75 - mirrored[positive, 0]  # t cos t + n becomes -t cos t + (0.75 - n)
    assert nearest_other_class(Examples(inputs=mirrored, labels=turned.labels)) < 0.05


def test_spiral_is_balanced_unboxed_and_independent_of_its_size(source: DataSource) -> None:
    splits = Spiral(n_train=100, n_test=50).load(source)
    assert splits.train.labels.bincount().tolist() == [50, 50]
    assert (splits.lower, splits.upper, splits.train.inputs.dtype) == (-math.inf, math.inf, torch.float32)
    assert float(splits.train.inputs.norm(dim=1).max()) <= END + 0.75 * math.sqrt(2)
    assert not torch.equal(splits.train.inputs[:50], splits.test.inputs)
    larger = Spiral(n_train=200).load(source)
    assert torch.equal(larger.train.inputs[:100], splits.train.inputs)


@pytest.mark.parametrize("options", [{"n_train": 1}, {"n_test": 0}, {"start": -1.0}, {"start": 14.0}])
def test_spiral_refuses_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="must be"):
        Spiral(**options)  # type: ignore[arg-type]
