"""Checks for datasets."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from benchbench.contract import (
    Dataset,
    DatasetExtent,
    DatasetSplits,
    DataSource,
    DescribedDataset,
    Examples,
    data_digest,
)
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
    """Check that a dataset keeps its contract, and has the stated properties.

    Inputs are uint8 (N, C, H, W) or float32 (N, ...), finite, inside the declared box and on the CPU; labels are int64 in
    [0, classes) and every class occurs in the training split (float32 targets for regression); both splits have one input
    shape; loading twice gives the same data; the extent of a `DescribedDataset` is that of its data.

    Args:
        dataset: the dataset, options set.
        source: where it may read; None for an empty folder, for datasets without files.
        input_shape: expected shape of one input; None, here and below, for any.
        classes: expected number of classes.
        n_train: expected size of the training split.
        n_test: expected size of the test split.
        digest: expected `benchbench.contract.data_digest`, which rows call ``dataset_digest``.

    Raises:
        ConformanceError: what was expected and what came, for the first broken promise.
    """
    name = name_of(dataset)
    expect_method(dataset, Dataset, "`load`")
    with tempfile.TemporaryDirectory() as folder:
        place = source or DataSource(root=Path(folder) / "data", cache=Path(folder) / "cache")
        splits, again = dataset.load(place), dataset.load(place)
    expect(isinstance(splits, DatasetSplits), f"{name}: load", expected="DatasetSplits", got=type(splits).__name__)
    for split in ("train", "test"):
        _check_split(f"{name}, {split} split", getattr(splits, split), splits)
    _check_labels(name, splits)
    train_shape, test_shape = tuple(splits.train.inputs.shape[1:]), splits.input_shape
    expect(
        train_shape[0] == test_shape[0] and all(ours >= theirs for ours, theirs in zip(train_shape, test_shape)),
        f"{name}: input shape",
        expected=f"training images in the test images' shape {test_shape}, or with a margin to crop",
        got=train_shape,
    )
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


def _check_split(name: str, examples: Examples, splits: DatasetSplits) -> None:
    inputs, labels = examples.inputs, examples.labels
    images = inputs.dtype == torch.uint8 and inputs.ndim == 4
    features = inputs.dtype == torch.float32 and inputs.ndim >= 2
    expect(
        images or features,
        f"{name}: inputs",
        expected="uint8 (N, C, H, W) or float32 (N, ...)",
        got=f"{inputs.dtype} {tuple(inputs.shape)}",
    )
    devices = {inputs.device.type, labels.device.type}
    expect(devices == {"cpu"}, f"{name}: device", expected="cpu", got=devices)
    expect(
        labels.shape == (len(examples),) and len(examples) > 0,
        f"{name}: labels",
        expected=f"one label for each of {len(examples)} inputs, and at least one",
        got=f"shape {tuple(labels.shape)}",
    )
    expect(inputs.isfinite().all(), f"{name}: inputs", expected="finite", got="NaN or infinity")
    scale = 255.0 if images else 1.0
    low, high = float(inputs.min()) / scale, float(inputs.max()) / scale
    box = f"values in [{splits.lower}, {splits.upper}]"
    expect(splits.lower <= low and high <= splits.upper, f"{name}: inputs", expected=box, got=f"[{low}, {high}]")


def _check_labels(name: str, splits: DatasetSplits) -> None:
    if splits.task == "regression":
        dtypes = {splits.train.labels.dtype, splits.test.labels.dtype}
        expect(dtypes == {torch.float32}, f"{name}: targets", expected="float32", got=dtypes)
        expect(not splits.classes, f"{name}: classes", expected="none for regression", got=splits.classes)
        return
    classes = len(splits.classes)
    distinct = len(set(splits.classes)) == classes >= 2
    expect(distinct, f"{name}: classes", expected="at least two distinct names", got=splits.classes)
    for split, examples in (("train", splits.train), ("test", splits.test)):
        dtype, present = examples.labels.dtype, set(examples.labels.tolist())
        expect(dtype == torch.int64, f"{name}, {split} split: labels", expected="int64", got=dtype)
        outside = sorted(present - set(range(classes)))
        expect(not outside, f"{name}, {split} split: labels", expected=f"in [0, {classes})", got=outside)
    absent = sorted(set(range(classes)) - set(splits.train.labels.tolist()))
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
