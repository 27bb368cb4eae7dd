"""List, fetch and verify datasets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from benchbench.contract import DataSource
from benchbench.data.loading import LoadedDataset, load_dataset
from benchbench.errors import BenchbenchError, MissingDataError
from benchbench.registry.lookup import ComponentEntry

if TYPE_CHECKING:
    from benchbench.cell.model import Component
    from benchbench.registry import Registry

DataStatus = Literal["available", "missing", "corrupt", "needs options"]


@dataclass(frozen=True, kw_only=True)
class Availability:
    """Whether a dataset can be used."""

    name: str
    status: DataStatus  # ``needs options``: such as only a suite can give; ``corrupt``: any other fault
    detail: str = ""  # what is wrong and what helps; for available data, which examples are left out
    n_train: int | None = None  # None, like `n_test` and `digest`, if the data were not read
    n_test: int | None = None
    digest: str | None = None


@runtime_checkable
class LocatableDataset(Protocol):
    """A dataset that can find its files without reading them."""

    def locate(self, source: DataSource) -> None:
        """Find the files, or raise `MissingDataError`."""
        ...


def availability(
    registry: Registry, source: DataSource, names: Sequence[ComponentEntry] | None = None
) -> tuple[Availability, ...]:
    """Find out which of some datasets (None for all) are available, without a download.

    A `LocatableDataset` is not read. An unknown name or option is a UsageError.
    """
    local = replace(source, download=False)
    return tuple(_look(registry, one, lambda c: _locate(registry, c, local)) for one in _chosen(registry, names))


def verify(
    registry: Registry, source: DataSource, names: Sequence[ComponentEntry] | None = None
) -> tuple[Availability, ...]:
    """Like `availability`, but check every checksum, shape, label and value."""
    local = replace(source, download=False)
    return tuple(_look(registry, one, lambda c: load_dataset(registry, c, local)) for one in _chosen(registry, names))


def fetch(registry: Registry, source: DataSource, name: ComponentEntry) -> LoadedDataset:
    """Download a missing dataset into the data root, or prepare its cache, and verify it.

    It is a UsageError for a wrong name or option, a MissingDataError if the download fails, a CorruptDataError for damage.
    """
    named, options = _parts(name)
    return load_dataset(registry, registry.resolve("dataset", named, options), replace(source, download=True))


def _chosen(registry: Registry, names: Sequence[ComponentEntry] | None) -> tuple[ComponentEntry, ...]:
    if names is None:
        return tuple(registered.offer.name for registered in registry.offers("dataset"))
    for name, options in map(_parts, names):
        registry.get("dataset", name)
        if options:
            registry.resolve("dataset", name, options)
    return tuple(names)


def _parts(entry: ComponentEntry) -> tuple[str, dict[str, object]]:
    """Name and options."""
    options: dict[str, object] = {"name": entry} if isinstance(entry, str) else dict(entry)
    return str(options.pop("name")), options


def _locate(registry: Registry, component: Component, source: DataSource) -> LoadedDataset | None:
    dataset = registry.make("dataset", component)
    if isinstance(dataset, LocatableDataset):
        dataset.locate(source)
        return None
    return load_dataset(registry, component, source)


def _look(registry: Registry, entry: ComponentEntry, read: Callable[[Component], LoadedDataset | None]) -> Availability:
    name, options = _parts(entry)
    try:
        required = [option.name for option in registry.options("dataset", name) if option.required]
        if missing := [option for option in required if option not in options]:
            return Availability(name=name, status="needs options", detail=f"a suite gives {', '.join(missing)}")
        loaded = read(registry.resolve("dataset", name, options))
    except MissingDataError as error:
        return Availability(name=name, status="missing", detail=str(error))
    except BenchbenchError as error:
        return Availability(name=name, status="corrupt", detail=str(error))
    if loaded is None:
        return Availability(name=name, status="available")
    return Availability(
        name=name,
        status="available",
        detail="; ".join(loaded.splits.notes),
        n_train=len(loaded.splits.train),
        n_test=len(loaded.splits.test),
        digest=loaded.digest,
    )
