"""Load a dataset, check it and compute its digest; choose examples by keyed draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from benchbench.atomic import full_disk
from benchbench.contract import DatasetSplits, DataSource, Examples, data_digest
from benchbench.contract.seeds import derive_seed
from benchbench.errors import PLUGIN_FAULTS, BenchbenchError, ContractError, DataError, PluginError
from benchbench.escaping import printable

if TYPE_CHECKING:
    from torch import Tensor

    from benchbench.cell.model import Component
    from benchbench.registry import Registry


@dataclass(frozen=True, kw_only=True)
class LoadedDataset:
    """A dataset in memory, or mapped into it: validated splits, and their `data_digest`."""

    splits: DatasetSplits
    digest: str


def validate(splits: DatasetSplits, name: str = "dataset") -> None:
    """Raise a `DataError` that lists every problem of the data."""
    from benchbench.contract.validation import data_problems

    if problems := data_problems(splits):
        noun = "problem" if len(problems) == 1 else "problems"
        listing = "\n".join(f"  {printable(problem)}" for problem in problems)
        raise DataError(f"{name}: {len(problems)} {noun} in the data\n{listing}")


def load_dataset(registry: Registry, component: Component, source: DataSource) -> LoadedDataset:
    """Make a dataset, load it, validate it and compute its digest.

    Missing or damaged files are a MissingDataError or CorruptDataError, problems found by `validate` a DataError. A plugin that
    returns no `DatasetSplits` is a ContractError, one that raises anything else a PluginError. A full disk is a StorageError.
    """
    dataset = registry.make("dataset", component)
    try:
        splits = dataset.load(source)
    except PLUGIN_FAULTS as error:  # a plugin may raise anything; only the cells on this dataset fail
        if full := full_disk(error):
            raise full from error
        if isinstance(error, BenchbenchError):
            raise
        if isinstance(error, OSError):
            raise DataError(f"{component.name}: cannot read its files: {error}") from error
        message = f"dataset {component.name!r} of {component.distribution} raised {type(error).__name__}: {error}"
        raise PluginError(message) from error
    if not isinstance(splits, DatasetSplits):  # a plugin may not be type-checked
        raise ContractError(f"dataset {component.name!r} loaded a {type(splits).__name__}, expected: DatasetSplits")
    validate(splits, component.name)
    return LoadedDataset(splits=splits, digest=data_digest(splits))


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Some examples in the order of their split, and their rows: int64 (n,), increasing."""

    examples: Examples
    indices: Tensor


def subset(examples: Examples, n: int, split: str, seed: int = 0) -> Subset:
    """The first `n` examples, at least 1, of a keyed permutation, in their original order.

    A smaller subset lies inside a larger one of the same split and seed; `n` above the size of the split gives the split.
    """
    import torch

    if n < 1:
        raise DataError(f"a subset of {split} must have at least 1 example, got {n}")
    if n >= len(examples):
        return Subset(examples=examples, indices=torch.arange(len(examples)))
    # Raw bits are the same in every version of NumPy, which does not promise that for permutations.
    keys = np.random.PCG64(derive_seed(seed, "subset", split)).random_raw(len(examples))
    chosen = np.sort(np.argsort(keys, kind="stable")[:n])
    indices = torch.from_numpy(chosen)
    return Subset(examples=Examples(inputs=examples.inputs[indices], labels=examples.labels[indices]), indices=indices)


def crop_to(examples: Examples, input_shape: Sequence[int]) -> Examples:
    """The centre (C, h, w), as a view, of training images with a margin for random crops."""
    if tuple(examples.inputs.shape[1:]) == tuple(input_shape):
        return examples
    height, width = input_shape[-2:]
    top, left = (examples.inputs.shape[2] - height) // 2, (examples.inputs.shape[3] - width) // 2
    return replace(examples, inputs=examples.inputs[:, :, top : top + height, left : left + width])
