"""Load each dataset of a plan once; one that a plugin has changed is loaded again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchbench.atomic import full_disk
from benchbench.cell.model import Component, digest
from benchbench.contract import DatasetExtent, DatasetSplits, DataSource, DescribedDataset
from benchbench.errors import BenchbenchError, DataError
from benchbench.kernels.fingerprints import version_of
from benchbench.registry import Registry

if TYPE_CHECKING:  # planning starts without torch
    from benchbench.data import LoadedDataset


class DatasetLoader:
    """The datasets of a plan, and the errors of those that cannot be loaded."""

    def __init__(self, registry: Registry, source: DataSource, *, unread: bool = False) -> None:
        self._registry = registry
        self._source = source
        self._unread = unread
        self._loaded: dict[str, LoadedDataset | BenchbenchError] = {}
        self._versions: dict[str, tuple[int, ...]] = {}
        self._digests: dict[str, str] = {}

    def load(self, dataset: Component) -> LoadedDataset:
        """The data, read once and again if its tensors changed; DataError for damage or other data."""
        key = digest(dataset)
        found = self._loaded.get(key)
        if found is None or (not isinstance(found, BenchbenchError) and self._changed(key, found)):
            found = self._loaded[key] = self._read(key, dataset)
        if isinstance(found, BenchbenchError):
            raise found
        return found

    def forget(self, dataset: Component) -> None:
        """Read a dataset again at its next use, because its tensors may have been changed."""
        self._loaded.pop(digest(dataset), None)

    def _read(self, key: str, dataset: Component) -> LoadedDataset | BenchbenchError:
        from benchbench.data import load_dataset
        from benchbench.data.describing import described

        self._loaded.pop(key, None)  # free the memory first
        try:
            found = described(self._registry, dataset, self._source) if self._unread else None
            if found is not None:
                return found
            found = load_dataset(self._registry, dataset, self._source)
        except BenchbenchError as error:
            if full_disk(error):
                raise  # no fault of the dataset
            return error
        if self._digests.setdefault(key, found.digest) != found.digest:
            return DataError(
                f"dataset {dataset.name}: read again, it is not what it was",
                hint="it hands out the same tensors each time, and a plugin has changed them: start the run again",
            )
        self._versions[key] = _versions(found)
        return found

    def _changed(self, key: str, loaded: LoadedDataset) -> bool:
        return key in self._versions and self._versions[key] != _versions(loaded)

    def splits(self, dataset: Component) -> DatasetSplits:
        """The examples of a dataset; see `load`."""
        return self.load(dataset).splits

    @property
    def notes(self) -> tuple[str, ...]:
        """The different notes of the loaded datasets, for instance about files that they left out."""
        loaded = (one for one in self._loaded.values() if not isinstance(one, BenchbenchError))
        return tuple(dict.fromkeys(note for one in loaded for note in one.splits.notes))

    def extent(self, dataset: Component) -> DatasetExtent | None:
        """The size of a dataset for classification, also without its files; None if unknown."""
        try:
            splits = self.splits(dataset)
        except BenchbenchError:
            try:
                made = self._registry.make("dataset", dataset)
            except BenchbenchError:
                return None
            return made.extent() if isinstance(made, DescribedDataset) else None
        if splits.task == "regression":
            return None
        return DatasetExtent(
            train=len(splits.train),
            test=len(splits.test),
            input_shape=splits.input_shape,
            classes=len(splits.classes),
            bytes_per_input=splits.train.inputs[:1].numel() * splits.train.inputs.element_size(),
        )


def _versions(loaded: LoadedDataset) -> tuple[int, ...]:
    splits = loaded.splits
    tensors = (splits.train.inputs, splits.train.labels, splits.test.inputs, splits.test.labels)
    return tuple(number for tensor in tensors for number in version_of(tensor))
