"""An executor: the units of a run as tasks of a Dask cluster. Dask is imported at first use."""

from __future__ import annotations

from collections.abc import Iterable

from benchbench.contract import Capabilities, Offer, hookimpl

BENCHBENCH_API = 1


@hookimpl
def benchbench_executors() -> Iterable[Offer]:
    """Offer Dask."""
    yield Offer(
        name="dask",
        summary="Tasks on a Dask cluster, a running one or one that is started on this machine",
        factory="benchbench_dask.executor:DaskExecutor",
        capabilities=Capabilities(requires={"distributed": "pip install distributed"}, elsewhere=True),
        citation="https://distributed.dask.org",
    )
