"""What data is at hand: listed, fetched, verified."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from benchbench.contract import DataSource
from benchbench.data.loading import LoadedDataset, load_dataset
from benchbench.errors import BenchbenchError, MissingDataError

if TYPE_CHECKING:
    from benchbench.cell import Component
    from benchbench.registry import Registry

Status = Literal["available", "missing", "corrupt", "needs options"]


@dataclass(frozen=True, kw_only=True)
class Availability:
    """Whether a dataset can be used.

    Attributes:
        name: of the dataset.
        status: ``available``; ``missing`` files; ``corrupt``, which is anything else that is wrong with it; or
            ``needs options`` that only a suite can give, such as a path.
        detail: what is wrong and what helps; empty when available.
        n_train: training examples; None when they were not read.
        n_test: test examples; None when they were not read.
        digest: of the data; None when they were not read.
    """

    name: str
    status: Status
    detail: str = ""
    n_train: int | None = None
    n_test: int | None = None
    digest: str | None = None


@runtime_checkable
class LocatableDataset(Protocol):
    """A dataset that can tell whether its files are there without reading them."""

    def locate(self, source: DataSource) -> None:
        """Return when they are there.

        Raises:
            MissingDataError: they are not.
        """
        ...


def availability(
    registry: Registry, source: DataSource, names: Sequence[str] | None = None
) -> tuple[Availability, ...]:
    """Look which datasets are there. Files are not read where a dataset can tell without.

    Args:
        registry: knows the datasets.
        source: where to look; nothing is downloaded.
        names: which datasets; all by default.

    Raises:
        UnknownNameError: a name is not registered.
    """
    local = replace(source, download=False)
    return tuple(_look(registry, name, lambda c: _locate(registry, c, local)) for name in _chosen(registry, names))


def verify(registry: Registry, source: DataSource, names: Sequence[str] | None = None) -> tuple[Availability, ...]:
    """Read datasets completely: every checksum, shape, label and value (arguments as for `availability`)."""
    local = replace(source, download=False)
    return tuple(_look(registry, name, lambda c: load_dataset(registry, c, local)) for name in _chosen(registry, names))


def fetch(registry: Registry, source: DataSource, name: str) -> LoadedDataset:
    """Download a dataset into the data root where it is missing, or prepare its cache, and verify it.

    Raises:
        UnknownNameError: nothing has this name.
        OptionError: it has options that only a suite can give.
        MissingDataError: it cannot be downloaded, or the download failed.
        CorruptDataError: a file is truncated or damaged.
    """
    return load_dataset(registry, registry.resolve("dataset", name), replace(source, download=True))


def _chosen(registry: Registry, names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return tuple(registered.offer.name for registered in registry.offers("dataset"))
    return tuple(registry.get("dataset", name).offer.name for name in names)


def _locate(registry: Registry, component: Component, source: DataSource) -> LoadedDataset | None:
    dataset = registry.make(component)
    if isinstance(dataset, LocatableDataset):
        dataset.locate(source)
        return None
    return load_dataset(registry, component, source)


def _look(registry: Registry, name: str, read: Callable[[Component], LoadedDataset | None]) -> Availability:
    try:
        required = [option.name for option in registry.options("dataset", name) if option.required]
        if required:
            return Availability(name=name, status="needs options", detail=f"a suite gives {', '.join(required)}")
        loaded = read(registry.resolve("dataset", name))
    except MissingDataError as error:
        return Availability(name=name, status="missing", detail=str(error))
    except BenchbenchError as error:
        return Availability(name=name, status="corrupt", detail=str(error))
    if loaded is None:
        return Availability(name=name, status="available")
    return Availability(
        name=name,
        status="available",
        n_train=len(loaded.splits.train),
        n_test=len(loaded.splits.test),
        digest=loaded.digest,
    )
