"""Load each dataset once, and remember also that it could not be loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchbench.cell import Component, digest
from benchbench.contract import DatasetExtent, DatasetSplits, DataSource, DescribedDataset
from benchbench.errors import BenchbenchError
from benchbench.registry import Registry

if TYPE_CHECKING:  # planning starts without torch
    from benchbench.data import LoadedDataset


class DatasetLoader:
    """The datasets of a plan.

    Args:
        registry: makes the datasets.
        source: where they may read.
    """

    def __init__(self, registry: Registry, source: DataSource) -> None:
        self._registry = registry
        self._source = source
        self._loaded: dict[str, LoadedDataset | BenchbenchError] = {}

    def load(self, dataset: Component) -> LoadedDataset:
        """The data of a dataset, read at the first call.

        Raises:
            MissingDataError: its files are not there.
            DataError: they are damaged or malformed.
            PluginError: the dataset cannot be made.
        """
        from benchbench.data import load_dataset

        key = digest(dataset)
        if key not in self._loaded:
            try:
                self._loaded[key] = load_dataset(self._registry, dataset, self._source)
            except BenchbenchError as error:
                self._loaded[key] = error
        found = self._loaded[key]
        if isinstance(found, BenchbenchError):
            raise found
        return found

    def splits(self, dataset: Component) -> DatasetSplits:
        """The examples of a dataset; see `load`."""
        return self.load(dataset).splits

    @property
    def notes(self) -> tuple[str, ...]:
        """What the datasets loaded so far say about themselves, for instance what they left out; each once."""
        loaded = (one for one in self._loaded.values() if not isinstance(one, BenchbenchError))
        return tuple(dict.fromkeys(note for one in loaded for note in one.splits.notes))

    def extent(self, dataset: Component) -> DatasetExtent | None:
        """How large a dataset for classification is, whether its files are there or not; None where nobody knows."""
        try:
            splits = self.splits(dataset)
        except BenchbenchError:
            return self._described(dataset)
        if splits.task == "regression":
            return None
        return DatasetExtent(
            train=len(splits.train),
            test=len(splits.test),
            input_shape=splits.input_shape,
            classes=len(splits.classes),
            bytes_per_input=splits.train.inputs[:1].numel() * splits.train.inputs.element_size(),
        )

    def _described(self, dataset: Component) -> DatasetExtent | None:
        try:
            made = self._registry.make(dataset)
        except BenchbenchError:
            return None
        return made.extent() if isinstance(made, DescribedDataset) else None
