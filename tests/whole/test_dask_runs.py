"""A suite through a local Dask cluster of two workers: the same rows as one process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugin_sources import distributions, put_on_path
from run_processes import results, run, write_suite

from benchbench.events import Event, Note
from benchbench.kernels.determinism import on_threads

pytest.importorskip("distributed")


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """benchbench-dask, as pip would have installed it, here and for the processes that are started."""
    (dask,) = [distribution for distribution in distributions() if distribution.name == "benchbench-dask"]
    put_on_path(dask, tmp_path / "dask", monkeypatch)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(dask.source), str(tmp_path / "dask")]))
    with on_threads(1):  # rows are bit-identical for the same number of threads
        yield


@pytest.mark.exhaustive
def test_dask_leaves_what_one_process_leaves(tmp_path: Path) -> None:
    for name in ("one", "dask"):
        write_suite(tmp_path / name)
    run(tmp_path / "one")
    heard: list[Event] = []
    result = run(tmp_path / "dask", heard.append, jobs=2, executor="dask")
    assert (result.finished, result.failed, result.left) == (4, 0, 0)
    assert results(tmp_path / "dask") == results(tmp_path / "one")
    assert any(isinstance(event, Note) and "2 tasks on the Dask cluster" in event.message for event in heard)
