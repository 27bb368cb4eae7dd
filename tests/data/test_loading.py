"""The data room: validation, digests, subsets, random labels, what is at hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchbench.contract import DatasetSplits, DataSource, Examples, MissingDataError, Offer, data_digest, hookimpl
from benchbench.contract import data as rows_module
from benchbench.data import (
    availability,
    crop_to,
    fetch,
    load_dataset,
    subset,
    verify,
)
from benchbench.data.loading import validate
from benchbench.errors import ContractError, CorruptDataError, DataError, UnknownNameError
from benchbench.registry import Registry, load_registry

PINNED_SUBSET = [42, 45, 49, 92, 99]


def images(n: int = 6, *, side: int = 4, dtype: torch.dtype = torch.uint8, labels: Tensor | None = None) -> Examples:
    inputs = torch.arange(n * side * side).reshape(n, 1, side, side).remainder(256)
    inputs = inputs.to(dtype) if dtype == torch.uint8 else inputs.to(dtype) / 255
    return Examples(inputs=inputs, labels=torch.arange(n) % 3 if labels is None else labels)


def make_splits(**changes: Any) -> DatasetSplits:
    return replace(DatasetSplits(train=images(), test=images(3), classes=("a", "b", "c")), **changes)


@pytest.fixture
def source(tmp_path: Path) -> DataSource:
    return DataSource(root=tmp_path / "data", cache=tmp_path / "cache")


# Validation


def test_valid_images_features_and_regression_pass() -> None:
    validate(make_splits())
    features = Examples(inputs=torch.randn(5, 2), labels=torch.tensor([0, 1, 0, 1, 1]))
    validate(DatasetSplits(train=features, test=features, classes=("a", "b"), lower=-math.inf, upper=math.inf))
    targets = Examples(inputs=torch.rand(5, 1), labels=torch.rand(5))
    validate(DatasetSplits(train=targets, test=targets, classes=(), task="regression"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": images(labels=torch.tensor([0, 1, 2, 3, -1, 0]))}, r"train: 2 labels outside \[0, 3\): -1, 3"),
        ({"train": images(labels=torch.zeros(6, dtype=torch.int64))}, "train: all labels are of one class"),
        ({"classes": ("a",)}, "at least 2 classes are needed, got 1"),
        ({"train": images(labels=torch.zeros(6))}, r"labels must be torch.int64 .*, got torch.float32"),
        ({"train": images(labels=torch.arange(5) % 3)}, r"labels must have shape \(6,\), got \(5,\)"),
        ({"train": images(dtype=torch.float64)}, "must be uint8 images or float32 features, got torch.float64"),
        ({"test": images(0)}, "test: inputs are empty"),
        ({"train": images(side=3)}, r"train inputs have shape \(1, 3, 3\), test inputs \(1, 4, 4\)"),
        ({"test": images(dtype=torch.float32)}, "train inputs are torch.uint8, test inputs torch.float32"),
        ({"upper": 2.0}, r"uint8 images must have the box \[0, 1\]"),
        ({"train": Examples(inputs=torch.zeros(2, 4, dtype=torch.uint8), labels=torch.arange(2))}, r"\(N, C, H, W\)"),
    ],
)
def test_each_problem_of_the_data_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        validate(make_splits(**changes))


@pytest.mark.parametrize(("value", "message"), [(math.nan, "NaN"), (math.inf, "NaN"), (1.5, r"leave the box \[0, 1\]")])
def test_values_that_are_not_finite_or_outside_the_box_are_named(value: float, message: str) -> None:
    features = images(dtype=torch.float32)
    features.inputs[4, 0, 1, 1] = value
    with pytest.raises(DataError, match=message):
        validate(make_splits(train=features, test=images(3, dtype=torch.float32)))


def test_targets_that_are_not_finite_are_named() -> None:
    bad = Examples(inputs=torch.rand(2, 1), labels=torch.tensor([1.0, math.nan]))
    with pytest.raises(DataError, match="targets hold NaN"):
        validate(DatasetSplits(train=bad, test=bad, classes=(), task="regression"))


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(DataError) as caught:
        validate(make_splits(train=images(labels=torch.full((6,), 7)), test=images(0), upper=2.0), "broken")
    for part in ("broken: ", "6 labels outside", "train: all labels are of one class", "test: inputs are empty"):
        assert part in caught.value.message


def test_crop_of_images_that_are_no_squares_is_their_centre() -> None:
    pixels = torch.arange(60, dtype=torch.uint8).view(1, 1, 6, 10)
    cropped = crop_to(Examples(inputs=pixels, labels=torch.zeros(1, dtype=torch.int64)), (1, 2, 4))
    assert cropped.inputs.tolist() == [[[[23, 24, 25, 26], [33, 34, 35, 36]]]]


def test_training_images_may_be_larger_than_test_images() -> None:
    splits = make_splits(train=images(side=6))
    validate(splits)
    cropped = crop_to(splits.train, splits.test.inputs.shape[1:])
    assert torch.equal(cropped.inputs, splits.train.inputs[:, :, 1:5, 1:5])
    assert cropped.inputs.data_ptr() != splits.train.inputs.data_ptr()
    assert cropped.inputs.untyped_storage().data_ptr() == splits.train.inputs.untyped_storage().data_ptr()


# Digests


def test_digest_is_that_of_the_content_and_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = data_digest(make_splits())
    monkeypatch.setattr(rows_module, "_BLOCK_BYTES", 20)
    assert data_digest(make_splits()) == whole
    assert len(whole) == 64


def test_digest_changes_with_every_part() -> None:
    flipped = images()
    flipped.inputs[5, 0, 3, 3] ^= 1
    variants = [
        make_splits(),
        make_splits(train=flipped),
        make_splits(train=images(labels=torch.tensor([0, 1, 2, 0, 1, 1]))),
        make_splits(train=images(3), test=images()),
        make_splits(classes=("a", "bc", "")),
        make_splits(train=replace(images(), inputs=images().inputs.reshape(6, 1, 2, 8))),
    ]
    assert len({data_digest(splits) for splits in variants}) == len(variants)


def test_a_mapped_array_is_read_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.lib.format.open_memmap(tmp_path / "a.npy", mode="w+", dtype=np.uint8, shape=(50, 1, 4, 4))
    monkeypatch.setattr(rows_module, "_BLOCK_BYTES", 64)
    assert [len(block) for block in rows_module.row_blocks(torch.from_numpy(array))] == [4] * 12 + [2]


# Subsets and labels


def test_subset_is_sorted_fixed_and_nested() -> None:
    examples = images(100)
    small, large = subset(examples, 10, "train"), subset(examples, 30, "train")
    assert torch.equal(small.indices, subset(examples, 10, "train").indices)
    assert small.indices.tolist() == sorted(set(small.indices.tolist()))
    assert set(small.indices.tolist()) < set(large.indices.tolist())
    assert torch.equal(small.examples.inputs, examples.inputs[small.indices])
    assert torch.equal(small.examples.labels, examples.labels[small.indices])


def test_subset_depends_on_split_and_seed_and_is_pinned() -> None:
    examples = images(100)
    assert subset(examples, 5, "train").indices.tolist() == PINNED_SUBSET
    assert subset(examples, 5, "test").indices.tolist() != PINNED_SUBSET
    assert subset(examples, 5, "train", seed=1).indices.tolist() != PINNED_SUBSET


@pytest.mark.parametrize("n", [6, 7])
def test_subset_of_all_is_the_split_itself(n: int) -> None:
    examples = images()
    chosen = subset(examples, n, "train")
    assert chosen.examples is examples
    assert chosen.indices.tolist() == list(range(6))


def test_subset_of_none_is_refused() -> None:
    with pytest.raises(DataError, match="at least 1 example"):
        subset(images(), 0, "train")


# Through the registry


class Toy:
    """A dataset whose option says how its loading ends."""

    def __init__(self, *, ending: str = "well") -> None:
        self.ending = ending

    def load(self, source: DataSource) -> DatasetSplits:
        if self.ending == "unreadable":
            raise PermissionError(13, "Permission denied", "toy.bin")
        if self.ending == "malformed":
            return "splits"  # type: ignore[return-value]
        if self.ending == "corrupt":
            raise CorruptDataError("toy.bin is truncated")
        return make_splits(classes=("a",) if self.ending == "invalid" else ("a", "b", "c"))


class ToyPlugin:
    @hookimpl
    def benchbench_datasets(self) -> list[Offer]:
        endings = ("corrupt", "invalid")
        return [
            Offer(name="toy", summary="a toy", factory=Toy),
            *(Offer(name=f"toy-{e}", summary="a toy", factory=Toy, preset={"ending": e}) for e in endings),
        ]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(extra_plugins=[ToyPlugin()])


def test_load_dataset_gives_validated_splits_and_their_digest(registry: Registry, source: DataSource) -> None:
    loaded = load_dataset(registry, registry.resolve("dataset", "toy"), source)
    assert loaded.digest == data_digest(loaded.splits)


@pytest.mark.parametrize(
    ("ending", "error", "message"),
    [
        ("unreadable", DataError, "toy: cannot read its files: .*Permission denied"),
        ("malformed", ContractError, "loaded a str, expected: DatasetSplits"),
        ("invalid", DataError, "toy: 3 problems in the data"),
    ],
)
def test_load_dataset_reports_what_went_wrong(
    registry: Registry, source: DataSource, ending: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_dataset(registry, registry.resolve("dataset", "toy", {"ending": ending}), source)


def test_availability_tells_apart_what_is_there_missing_corrupt_or_needs_options(
    registry: Registry, source: DataSource
) -> None:
    found = {one.name: one for one in availability(registry, source)}
    assert (found["toy"].status, found["toy"].n_train, found["toy"].n_test) == ("available", 6, 3)
    assert found["mnist"].status == found["restricted-imagenet"].status == "missing"
    assert f"benchbench data fetch mnist --data {source.root}" in found["mnist"].detail
    assert found["toy-corrupt"].status == found["toy-invalid"].status == "corrupt"
    assert (found["image-folder"].status, found["image-folder"].detail) == ("needs options", "a suite gives path")


def test_verify_reads_the_data_and_gives_the_digest(registry: Registry, source: DataSource) -> None:
    (digits,) = verify(registry, source, ["digits"])
    assert (digits.status, digits.n_train, digits.n_test) == ("available", 1437, 360)
    assert digits.digest is not None


def test_verify_finds_the_damage_that_availability_does_not_look_for(registry: Registry, source: DataSource) -> None:
    raw = source.root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte").write_bytes(b"damaged")
    assert availability(registry, source, ["mnist"])[0].status == "available"
    assert verify(registry, source, ["mnist"])[0].status == "corrupt"


def test_an_unknown_dataset_is_named(registry: Registry, source: DataSource) -> None:
    with pytest.raises(UnknownNameError, match="mnits"):
        availability(registry, source, ["mnits"])


def test_fetch_of_what_cannot_be_downloaded_says_what_to_do(registry: Registry, source: DataSource) -> None:
    with pytest.raises(MissingDataError, match="put the data there"):
        fetch(registry, source, "restricted-imagenet")
