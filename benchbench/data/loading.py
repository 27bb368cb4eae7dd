"""Load a dataset and compute its digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.contract import DatasetSplits, DataSource, data_digest
from benchbench.contract.validation import data_problems
from benchbench.errors import BenchbenchError, ContractError, DataError, PluginError

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
        listing = "\n".join(f"  {problem}" for problem in problems)
        raise DataError(f"{name}: {len(problems)} {noun} in the data\n{listing}")


def load_dataset(registry: Registry, component: Component, source: DataSource) -> LoadedDataset:
    """Make a dataset, load it, validate it and compute its digest.

    Missing or damaged files are a MissingDataError or CorruptDataError, problems found by `validate` a DataError. A plugin that
    returns no `DatasetSplits` is a ContractError, one that raises anything else a PluginError.
    """
    dataset = registry.make("dataset", component)
    try:
        splits = dataset.load(source)
    except OSError as error:
        raise DataError(f"{component.name}: cannot read its files: {error}") from error
    except BenchbenchError:
        raise
    except Exception as error:  # a plugin may raise anything; only the cells on this dataset fail
        message = f"dataset {component.name!r} of {component.distribution} raised {type(error).__name__}: {error}"
        raise PluginError(message) from error
    if not isinstance(splits, DatasetSplits):  # a plugin may not be type-checked
        raise ContractError(f"dataset {component.name!r} loaded a {type(splits).__name__}, expected: DatasetSplits")
    validate(splits, component.name)
    return LoadedDataset(splits=splits, digest=data_digest(splits))
