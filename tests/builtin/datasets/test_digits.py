"""Digits, which come with scikit-learn: no files are read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from benchbench.builtin.datasets.digits import Digits
from benchbench.contract import DataSource, OptionError

FIRST_TEST_LABELS = [0, 8, 0, 7, 5, 0, 9, 5, 5, 9, 9, 1]


def test_digits_are_split_80_to_20_in_equal_proportions(source: DataSource) -> None:
    splits = Digits().load(source)
    assert (len(splits.train), len(splits.test), splits.input_shape) == (1437, 360, (1, 16, 16))
    share = splits.test.labels.bincount() / (splits.train.labels.bincount() + splits.test.labels.bincount())
    assert bool(((share - 0.2).abs() < 0.01).all())


def test_digits_partition_the_original_images(source: DataSource) -> None:
    splits = Digits(scale=1).load(source)
    together = torch.cat([splits.train.inputs, splits.test.inputs]).flatten(1).numpy()
    original = np.rint(load_digits().data * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, together)) == sorted(map(bytes, original))


def test_digits_scale_repeats_pixels(source: DataSource) -> None:
    small, large = Digits(scale=1).load(source), Digits(scale=3).load(source)
    assert torch.equal(large.train.inputs[:, :, 1::3, 2::3], small.train.inputs)
    assert large.input_shape == (1, 24, 24)


def test_digits_split_does_not_change(source: DataSource) -> None:
    assert Digits().load(source).test.labels[:12].tolist() == FIRST_TEST_LABELS


def test_digits_refuse_scale_0() -> None:
    with pytest.raises(OptionError, match=r"in \[1, 64\]"):
        Digits(scale=0)
