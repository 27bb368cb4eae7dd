"""Load a dataset and compute its digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.atomic import full_disk
from benchbench.contract import DatasetSplits, DataSource, data_digest
from benchbench.contract.validation import data_problems
from benchbench.errors import BenchbenchError, ContractError, DataError, PluginError
from benchbench.escaping import printable

if TYPE_CHECKING:
    from benchbench.cell.model import Component
    from benchbench.registry import Registry


@dataclass(frozen=True, kw_only=True)
class LoadedDataset:
    """A dataset in memory, or mapped into it: validated splits, and their `data_digest`."""

    splits: DatasetSplits
    digest: str


def validate(splits: DatasetSplits, name: str = "dataset") -> None:
    """Raise a `DataError` that lists every problem of the data."""
    if problems := data_problems(splits):
        noun = "problem" if len(problems) == 1 else "problems"
        listing = "\n".join(f"  {printable(problem)}" for problem in problems)
        raise DataError(f"{name}: {len(problems)} {noun} in the data\n{listing}")


def load_dataset(registry: Registry, component: Component, source: DataSource) -> LoadedDataset:
    """Make a dataset, load it, validate it and compute its digest.

    Raises:
        MissingDataError: its files are missing.
        CorruptDataError: a file is truncated or damaged.
        DataError: a file cannot be read, or `validate` found problems.
        ContractError: it did not return `DatasetSplits`.
        StorageError: the disk is full.
        PluginError: it raised anything else.
    """
    dataset = registry.make("dataset", component)
    try:
        splits = dataset.load(source)
    except Exception as error:  # a plugin may raise anything; only the cells on this dataset fail
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
