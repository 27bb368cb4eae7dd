"""Load each dataset once, and remember also that it could not be loaded; one that a plugin has changed is loaded anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchbench.cell.model import Component, digest
from benchbench.contract import DatasetExtent, DatasetSplits, DataSource, DescribedDataset
from benchbench.errors import BenchbenchError, DataError
from benchbench.kernels.fingerprints import version_of
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
        self._versions: dict[str, tuple[int, ...]] = {}
        self._digests: dict[str, str] = {}

    def load(self, dataset: Component) -> LoadedDataset:
        """The data of a dataset, read at the first call, and again where somebody has written to it.

        Raises:
            MissingDataError: its files are not there.
            DataError: they are damaged or malformed, or reading them again gives other data.
            PluginError: the dataset cannot be made.
        """
        key = digest(dataset)
        found = self._loaded.get(key)
        if found is None or (not isinstance(found, BenchbenchError) and self._versions[key] != _versions(found)):
            found = self._loaded[key] = self._read(key, dataset)
        if isinstance(found, BenchbenchError):
            raise found
        return found

    def forget(self, dataset: Component) -> None:
        """Read a dataset again when it is next asked for, because what was lent of it may have been changed."""
        self._loaded.pop(digest(dataset), None)

    def _read(self, key: str, dataset: Component) -> LoadedDataset | BenchbenchError:
        from benchbench.data import load_dataset

        self._loaded.pop(key, None)  # not twice in memory
        try:
            found = load_dataset(self._registry, dataset, self._source)
        except BenchbenchError as error:
            return error
        if self._digests.setdefault(key, found.digest) != found.digest:
            return DataError(
                f"dataset {dataset.name}: read again, it is not what it was",
                hint="it hands out the same tensors each time, and a plugin has changed them: start the run again",
            )
        self._versions[key] = _versions(found)
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
            made = self._registry.make("dataset", dataset)
        except BenchbenchError:
            return None
        return made.extent() if isinstance(made, DescribedDataset) else None


def _versions(loaded: LoadedDataset) -> tuple[int, ...]:
    splits = loaded.splits
    tensors = (splits.train.inputs, splits.train.labels, splits.test.inputs, splits.test.labels)
    return tuple(number for tensor in tensors for number in version_of(tensor))
