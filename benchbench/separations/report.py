"""Separation of a dataset (paper: Definition 2, Tables 1 and 8), train-train and test-train."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchbench.contract.seeds import derive_seed
from benchbench.contract.threat import Threat, check_radius
from benchbench.errors import DataError, OptionError
from benchbench.separations.neighbours import Neighbours, nearest_other_class

if TYPE_CHECKING:
    from benchbench.contract import DatasetSplits, Examples

BINS = 20


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two examples of different classes, with the labels used, which may be random ones."""

    query: int  # index in the split of the queries (train or test)
    reference: int  # index in the training split
    query_label: int
    reference_label: int
    distance: float  # L-inf, in the units of the model's inputs


@dataclass(frozen=True, kw_only=True)
class Separation:
    """Statistics of the distances of examples to the nearest training example of another class."""

    examples: int  # number of examples
    minimum: float  # smallest distance, in the units of the model's inputs (pixel / 255); likewise the mean
    mean: float
    histogram: tuple[int, ...]  # examples in each of `BINS` bins
    edges: tuple[float, ...]  # `BINS` + 1 bin edges in [0, 1], or in [0, largest distance] where that is above 1
    closest: tuple[Pair, ...]  # the closest pairs, nearest first, each unordered pair once
    epsilon: float | None = None  # attack radius of interest; None if not given

    @property
    def radius(self) -> float:
        """The largest r for which the examples are r-separated: half the minimum (Definition 2)."""
        return self.minimum / 2.0

    @property
    def exceeds_two_epsilon(self) -> bool | None:
        """Whether the minimum exceeds 2 * epsilon; if so, no such attack confuses two examples."""
        return None if self.epsilon is None else self.minimum > 2.0 * self.epsilon

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self) | {"radius": self.radius, "exceeds_two_epsilon": self.exceeds_two_epsilon}


@dataclass(frozen=True, kw_only=True)
class SeparationReport:
    """Separations of a dataset's training and test examples from its training examples."""

    train_train: Separation
    test_train: Separation
    random_labels: bool = False  # whether labels were drawn uniformly instead of the dataset's own (Table 8)
    excluded: tuple[int, ...] = ()  # indices of training examples that were left out

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "random_labels": self.random_labels,
            "excluded": list(self.excluded),
            "train_train": self.train_train.to_dict(),
            "test_train": self.test_train.to_dict(),
        }

    def row(self) -> dict[str, Any]:
        """The dataset's row of Table 8, in the columns of the published one; Table 1 is its minima."""
        return {
            "epsilon": self.train_train.epsilon,
            "labels": "random" if self.random_labels else "original",
            "train_train_min": self.train_train.minimum,
            "train_train_mean": self.train_train.mean,
            "test_train_min": self.test_train.minimum,
            "test_train_mean": self.test_train.mean,
        }


def measure(
    splits: DatasetSplits,
    *,
    random_labels: bool = False,
    exclude: Collection[int] = (),
    epsilon: float | str | None = None,
    pairs: int = 5,
    seed: int = 0,
) -> SeparationReport:
    """Measure the separation of a dataset, uint8 images or float features, exactly.

    Args:
        splits: the dataset, of two classes or more.
        random_labels: draw each label uniformly from the classes instead (Table 8).
        exclude: indices of training examples to leave out, such as SVHN's 25235, 25236 and 65043. Reported indices are those
            of the whole training set.
        epsilon: attack radius; the minimum is compared with 2 * epsilon. May be ``"8/255"``.
        pairs: how many closest pairs to keep.
        seed: seed of the random labels.

    Regression data or fewer than two classes are a DataError; an excluded index that does not exist, a negative number of
    pairs, and a radius that is negative or beyond the box an OptionError.
    """
    if splits.task != "classification":
        raise DataError("separation is defined between classes, and this is regression data")
    _check_options(len(splits.train), exclude, pairs)
    radius = None if epsilon is None else _radius(epsilon, splits)
    kept = np.setdiff1d(np.arange(len(splits.train)), np.fromiter(exclude, dtype=np.int64))
    train, test = splits.train.inputs.numpy(), splits.test.inputs.numpy()
    train_labels = _labels(splits, splits.train, "train", random_labels, seed)
    test_labels = _labels(splits, splits.test, "test", random_labels, seed)
    if len(kept) < len(train):
        train, train_labels = train[kept], train_labels[kept]
    found = nearest_other_class(train, train_labels, train, train_labels)
    train_train = summarise(found, train_labels, train_labels, epsilon=radius, pairs=pairs, symmetric=True)
    found = nearest_other_class(test, test_labels, train, train_labels)
    test_train = summarise(found, test_labels, train_labels, epsilon=radius, pairs=pairs)
    return SeparationReport(
        train_train=_renumbered(train_train, kept, kept),
        test_train=_renumbered(test_train, np.arange(len(test)), kept),
        random_labels=random_labels,
        excluded=tuple(sorted(int(index) for index in set(exclude))),
    )


def _radius(epsilon: float | str, splits: DatasetSplits) -> float:
    threat = Threat(epsilon=epsilon, lower=splits.lower, upper=splits.upper)
    if threat.epsilon > 0:  # `check_radius` refuses 0, which is harmless here
        check_radius(threat, splits.input_shape)
    return threat.epsilon


def _check_options(size: int, exclude: Collection[int], pairs: int) -> None:
    absent = sorted(index for index in exclude if not 0 <= index < size)
    if absent:
        raise OptionError(f"cannot exclude training examples {absent}", hint=f"indices go from 0 to {size - 1}")
    if pairs < 0:
        raise OptionError(f"pairs must be at least 0, got {pairs}")


def _labels(splits: DatasetSplits, examples: Examples, split: str, random: bool, seed: int) -> NDArray[np.int64]:
    if not random:
        return examples.labels.numpy()
    generator = np.random.default_rng(derive_seed(seed, "separation", "random labels", split))
    return generator.integers(0, len(splits.classes), size=len(examples), dtype=np.int64)


def summarise(
    neighbours: Neighbours,
    query_labels: NDArray[np.int64],
    reference_labels: NDArray[np.int64],
    *,
    epsilon: float | None = None,
    pairs: int = 5,
    symmetric: bool = False,
) -> Separation:
    """Statistics of the result of `nearest_other_class`, with labels int64 (N,) and (M,).

    It keeps a number of closest pairs. If queries and references are the same examples (`symmetric`), each unordered pair is
    listed once.
    """
    distance = neighbours.scaled
    histogram, edges = np.histogram(distance, bins=BINS, range=(0.0, max(1.0, float(distance.max()))))
    closest = [
        Pair(
            query=query,
            reference=reference,
            query_label=int(query_labels[query]),
            reference_label=int(reference_labels[reference]),
            distance=float(distance[query]),
        )
        for query, reference in _closest_pairs(neighbours, pairs, symmetric)
    ]
    return Separation(
        examples=len(distance),
        minimum=float(distance.min()),
        mean=float(distance.mean()),
        histogram=tuple(int(count) for count in histogram),
        edges=tuple(float(edge) for edge in edges),
        closest=tuple(closest),
        epsilon=epsilon,
    )


def _closest_pairs(neighbours: Neighbours, wanted: int, symmetric: bool) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for query in np.argsort(neighbours.distance, kind="stable"):
        if len(found) == wanted:
            break
        reference = int(neighbours.index[query])
        if not (symmetric and (reference, int(query)) in found):
            found.append((int(query), reference))
    return found


def _renumbered(separation: Separation, queries: NDArray[np.int64], references: NDArray[np.int64]) -> Separation:
    """The separation with the pairs' positions replaced by the indices at them."""
    closest = tuple(
        replace(pair, query=int(queries[pair.query]), reference=int(references[pair.reference]))
        for pair in separation.closest
    )
    return replace(separation, closest=closest)
