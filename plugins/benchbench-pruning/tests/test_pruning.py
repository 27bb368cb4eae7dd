"""The conformance kit, exhaustive search on small graphs, and separation of what remains."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchbench_pruning import benchbench_datasets
from benchbench_pruning.conflicts import conflicts, fewest_removals
from benchbench_pruning.dataset import PrunedDataset

from benchbench.contract import DataError, DatasetSplits, DataSource, Examples, OptionError
from benchbench.testing import check_dataset


@dataclass(frozen=True)
class FixedData:
    """A base whose data are given."""

    splits: DatasetSplits

    def load(self, source: DataSource) -> DatasetSplits:
        return self.splits


def pruned(splits: DatasetSplits, **options: object) -> PrunedDataset:
    return PrunedDataset(base=FixedData(splits), **options)  # type: ignore[arg-type]


def blurred_squares(count: int = 300, classes: int = 3) -> DatasetSplits:
    """Noisy 6x6 images around one pattern a class, some of them nearer to another class."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.rand(classes, 1, 6, 6, generator=generator)
    labels = torch.arange(count) % classes
    noise = 0.35 * torch.randn(count, 1, 6, 6, generator=generator)
    images = ((patterns[labels] + noise).clamp(0, 1) * 255).to(torch.uint8)
    split = Examples(inputs=images, labels=labels)
    return DatasetSplits(train=split, test=split, classes=("a", "b", "c"))


def test_pruned_images_keep_the_contract() -> None:
    check_dataset(pruned(blurred_squares(), radius=0.35), input_shape=(1, 6, 6), classes=3, n_test=300)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_what_remains_is_separated_and_nothing_else_is_gone(tmp_path: Path, norm: str) -> None:
    radius = {"linf": 0.35, "l2": 1.0, "l1": 4.6}[norm]
    source = DataSource(root=tmp_path, cache=tmp_path)
    whole = blurred_squares()
    splits = pruned(whole, radius=radius, norm=norm).load(source)
    assert 0 < len(whole.train) - len(splits.train) < len(whole.train) // 2
    features, labels = splits.train.inputs.flatten(1).double() / 255.0, splits.train.labels
    order = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}[norm]
    distances = torch.cdist(features, features, p=order, compute_mode="donot_use_mm_for_euclid_dist")
    assert float(distances[labels[:, None] != labels[None, :]].min()) >= 2 * radius - 1e-6
    assert torch.equal(splits.test.inputs, whole.test.inputs)


def random_pairs(generator: np.random.Generator, labels: np.ndarray, density: float) -> np.ndarray:
    pairs = [(i, j) for i, j in itertools.combinations(range(len(labels)), 2) if labels[i] != labels[j]]
    return np.array([pair for pair in pairs if generator.random() < density], dtype=np.int64).reshape(-1, 2)


def smallest_cover_size(pairs: np.ndarray, count: int) -> int:
    """By trying all sets of removals."""
    for size in range(count + 1):
        for removed in itertools.combinations(range(count), size):
            if all(i in removed or j in removed for i, j in pairs):
                return size
    raise AssertionError("removing everything always suffices")


@pytest.mark.parametrize("seed", range(25))
def test_two_classes_lose_as_few_as_exhaustive_search_finds(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, size=11)
    pairs = random_pairs(generator, labels, density=generator.uniform(0.05, 0.6))
    removed = set(fewest_removals(pairs, labels).tolist())
    assert all(i in removed or j in removed for i, j in pairs.tolist())
    assert len(removed) == smallest_cover_size(pairs, len(labels))


@pytest.mark.parametrize("seed", range(15))
def test_more_classes_are_separated_and_no_removal_is_needless(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, size=10)
    pairs = random_pairs(generator, labels, density=0.3)
    removed = set(fewest_removals(pairs, labels).tolist())
    assert all(i in removed or j in removed for i, j in pairs.tolist())
    for back in removed:
        fewer = removed - {back}
        assert not all(i in fewer or j in fewer for i, j in pairs.tolist())
    assert len(removed) <= 2 * smallest_cover_size(pairs, len(labels))


def test_a_star_loses_its_centre() -> None:
    labels = np.array([0, 1, 1, 1, 1])
    assert fewest_removals(np.array([[0, k] for k in range(1, 5)]), labels).tolist() == [0]


def test_pairs_at_exactly_the_distance_are_no_conflict() -> None:
    features, labels = torch.tensor([[0.0], [51.0], [102.0]]), torch.tensor([0, 1, 1])
    assert conflicts(features, labels, distance=51.0, order=math.inf).tolist() == []
    assert conflicts(features, labels, distance=52.0, order=math.inf).tolist() == [[0, 1]]
    assert conflicts(features, labels, distance=200.0, order=1.0).tolist() == [[0, 1], [0, 2]]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.rand(40, 3, generator=generator), torch.arange(40) % 3
    whole = conflicts(features, labels, distance=0.4, order=2.0)
    monkeypatch.setattr("benchbench_pruning.conflicts.BLOCK_ELEMENTS", 7 * 40)
    assert np.array_equal(conflicts(features, labels, distance=0.4, order=2.0), whole)
    assert len(whole) > 10


def features(values: list[float], labels: list[int], task: str = "classification") -> DatasetSplits:
    examples = Examples(inputs=torch.tensor(values)[:, None], labels=torch.tensor(labels))
    return DatasetSplits(train=examples, test=examples, classes=("a", "b"), task=task)  # type: ignore[arg-type]


def test_radius_is_in_the_units_of_features_and_zero_removes_nothing(tmp_path: Path) -> None:
    source = DataSource(root=tmp_path, cache=tmp_path)
    splits = features([0.0, 0.1, 0.15, 0.9], [0, 0, 1, 1])
    assert pruned(splits, radius=0.0).load(source).train.labels.tolist() == [0, 0, 1, 1]
    assert pruned(splits, radius=0.1).load(source).train.inputs[:, 0].tolist() == pytest.approx([0.0, 0.1, 0.9])


def test_what_the_base_says_about_itself_is_kept(tmp_path: Path) -> None:
    splits = replace(features([0.0, 0.9], [0, 1]), notes=("2 files left out",))
    source = DataSource(root=tmp_path, cache=tmp_path)
    assert pruned(splits, radius=0.1).load(source).notes == ("2 files left out",)


def test_class_that_would_vanish_is_an_error(tmp_path: Path) -> None:
    splits = features([0.0, 0.1, 0.05], [0, 0, 1])
    with pytest.raises(DataError, match=r"leaves no training example of \[1\]"):
        pruned(splits, radius=0.5).load(DataSource(root=tmp_path, cache=tmp_path))


def test_regression_cannot_be_pruned(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="regression"):
        pruned(features([0.0, 1.0], [0, 1], "regression")).load(DataSource(root=tmp_path, cache=tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": -1.0}, "radius must be"),
        ({"norm": "l7"}, "norm must be"),
    ],
)
def test_option_out_of_range_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        pruned(blurred_squares(), **options)


def test_offer_names_the_factory() -> None:
    (offer,) = benchbench_datasets()
    assert (offer.name, offer.factory) == ("pruned", f"{PrunedDataset.__module__}:{PrunedDataset.__qualname__}")
