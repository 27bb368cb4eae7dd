"""Checks for datasets."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from benchbench.contract import Dataset, DatasetExtent, DatasetSplits, DataSource, DescribedDataset, data_digest
from benchbench.contract.validation import data_problems
from benchbench.testing.conformance import expect, expect_method, name_of


def check_dataset(
    dataset: Dataset,
    *,
    source: DataSource | None = None,
    input_shape: tuple[int, ...] | None = None,
    classes: int | None = None,
    n_train: int | None = None,
    n_test: int | None = None,
    digest: str | None = None,
) -> None:
    """Check a dataset; a `ConformanceError` tells the first broken promise or statement.

    Inputs are uint8 (N, C, H, W) or float32 (N, ...), finite, inside the declared box and on the CPU; labels are int64 in [0,
    classes) and every class occurs in the training split (float32 targets for regression); both splits have one input shape, up
    to a margin of training images; loading twice gives the same data; the extent of a `DescribedDataset` is that of its data.

    Args:
        dataset: the dataset, options set.
        source: where it may read; None for an empty folder, for datasets without files.
        input_shape: expected shape of one input; None, here and below, for any.
        classes: expected number of classes.
        n_train: expected size of the training split.
        n_test: expected size of the test split.
        digest: expected `benchbench.contract.data_digest`, which rows call ``dataset_digest``.
    """
    name = name_of(dataset)
    expect_method(dataset, Dataset, "`load`")
    with tempfile.TemporaryDirectory() as folder:
        place = source or DataSource(root=Path(folder) / "data", cache=Path(folder) / "cache")
        splits, again = dataset.load(place), dataset.load(place)
    expect(isinstance(splits, DatasetSplits), f"{name}: load", expected="DatasetSplits", got=type(splits).__name__)
    devices = {tensor.device.type for part in (splits.train, splits.test) for tensor in (part.inputs, part.labels)}
    expect(devices == {"cpu"}, f"{name}: device", expected="cpu", got=devices)
    problems = data_problems(splits)
    expect(not problems, f"{name}: data", expected="valid shapes, dtypes, labels and values", got="; ".join(problems))
    _check_classes(name, splits)
    _check_same(name, splits, again)
    if isinstance(dataset, DescribedDataset):
        _check_extent(name, dataset.extent(), splits)
    stated: dict[str, tuple[object, object]] = {
        "input shape": (input_shape, splits.input_shape),
        "classes": (classes, len(splits.classes)),
        "n_train": (n_train, len(splits.train)),
        "n_test": (n_test, len(splits.test)),
        "digest": (digest, data_digest(splits)),
    }
    for what, (expected, got) in stated.items():
        expect(expected is None or expected == got, f"{name}: {what}", expected=expected, got=got)


def _check_classes(name: str, splits: DatasetSplits) -> None:
    if splits.task == "regression":
        expect(not splits.classes, f"{name}: classes", expected="none for regression", got=splits.classes)
        return
    distinct = len(set(splits.classes)) == len(splits.classes)
    expect(distinct, f"{name}: classes", expected="distinct names", got=splits.classes)
    absent = sorted(set(range(len(splits.classes))) - set(splits.train.labels.tolist()))
    expect(not absent, f"{name}: label set", expected="every class in the training split", got=f"without {absent}")


def _check_extent(name: str, stated: DatasetExtent, splits: DatasetSplits) -> None:
    """Check a stated extent against the data; without `bytes_per_input`, a value has one byte."""
    found = DatasetExtent(
        train=len(splits.train),
        test=len(splits.test),
        input_shape=splits.input_shape,
        classes=len(splits.classes),
        bytes_per_input=splits.train.inputs[:1].nbytes,
    )
    meant = stated.bytes_per_input or math.prod(stated.input_shape)
    expect(replace(stated, bytes_per_input=meant) == found, f"{name}: extent", expected=found, got=stated)


def _check_same(name: str, first: DatasetSplits, second: DatasetSplits) -> None:
    pairs = {
        "train inputs": (first.train.inputs, second.train.inputs),
        "train labels": (first.train.labels, second.train.labels),
        "test inputs": (first.test.inputs, second.test.inputs),
        "test labels": (first.test.labels, second.test.labels),
    }
    differing = [what for what, (one, other) in pairs.items() if not torch.equal(one, other)]
    if first.classes != second.classes:
        differing.append("classes")
    expect(not differing, f"{name}: loading twice", expected="the same data", got=f"different {differing}")
