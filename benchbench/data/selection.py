"""Choose examples, or draw other labels, by keyed draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from benchbench.contract import DatasetSplits, Examples
from benchbench.contract.seeds import KeyedGenerator, derive_seed
from benchbench.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Some examples in the order of their split, and their rows: int64 (n,), increasing."""

    examples: Examples
    indices: Tensor


def subset(examples: Examples, n: int, split: str, seed: int = 0) -> Subset:
    """The first `n` examples, at least 1, of a keyed permutation, in their original order.

    A smaller subset lies inside a larger one of the same split and seed; `n` above the size of the split gives the split.
    """
    if n < 1:
        raise DataError(f"a subset of {split} must have at least 1 example, got {n}")
    if n >= len(examples):
        return Subset(examples=examples, indices=torch.arange(len(examples)))
    # Raw bits are the same in every version of NumPy, which does not promise that for permutations.
    keys = np.random.PCG64(derive_seed(seed, "subset", split)).random_raw(len(examples))
    chosen = np.sort(np.argsort(keys, kind="stable")[:n])
    indices = torch.from_numpy(chosen)
    return Subset(examples=Examples(inputs=examples.inputs[indices], labels=examples.labels[indices]), indices=indices)


def random_labels(splits: DatasetSplits, seed: int = 0) -> DatasetSplits:
    """The same inputs with labels drawn uniformly from all classes (Table 8 of the paper)."""

    def relabel(examples: Examples, split: str) -> Examples:
        generator = KeyedGenerator(derive_seed(seed, "random-labels", split), torch.arange(len(examples)))
        return replace(examples, labels=generator.integers(len(splits.classes)))

    return replace(splits, train=relabel(splits.train, "train"), test=relabel(splits.test, "test"))


def crop_to(examples: Examples, input_shape: Sequence[int]) -> Examples:
    """The centre (C, h, w), as a view, of training images with a margin for random crops."""
    if tuple(examples.inputs.shape[1:]) == tuple(input_shape):
        return examples
    height, width = input_shape[-2:]
    top, left = (examples.inputs.shape[2] - height) // 2, (examples.inputs.shape[3] - width) // 2
    return replace(examples, inputs=examples.inputs[:, :, top : top + height, left : left + width])
