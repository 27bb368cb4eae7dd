"""The conformance kit, and a cluster that loses a worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchbench_dask import benchbench_executors
from benchbench_dask.executor import DaskExecutor
from distributed import LocalCluster

from benchbench.contract import OptionError, UsageError
from benchbench.testing import ToyHost, check_executor, toy_work


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers on this machine."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as started:
        yield started


def test_executor_keeps_the_contract(cluster: Any) -> None:
    check_executor(DaskExecutor(address=cluster.scheduler_address))


def test_cluster_of_its_own_is_started_and_ended(tmp_path: Path) -> None:
    work = toy_work(tmp_path / "toy", ("first", "second"))
    host = ToyHost(work.folder, ("first", "second"))
    DaskExecutor().execute(work, host)
    assert not host.left()
    assert any("2 tasks on the Dask cluster" in said for said in host.said)


def test_unit_of_a_lost_worker_goes_to_another_one(cluster: Any, tmp_path: Path) -> None:
    work = toy_work(tmp_path / "toy", ("slow",))
    host = ToyHost(work.folder, ("slow",))

    def lose_the_worker() -> None:
        pid = work.folder / "pids" / "slow"
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.05)
        (work.folder / "begun" / "slow").unlink()
        (work.folder / "fast").touch()
        busy = [address for address, keys in cluster.scheduler.workers.items() if keys.processing]
        (nanny,) = [nanny for nanny in cluster.workers.values() if nanny.worker_address == busy[0]]
        nanny.process.process._process.kill()

    threading.Thread(target=lose_the_worker, daemon=True).start()
    DaskExecutor(address=cluster.scheduler_address).execute(work, host)
    assert not host.left()


def test_scheduler_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchbench_dask.executor.CONNECT_SECONDS", 0.5)
    work = toy_work(tmp_path / "toy", ("first",))
    with pytest.raises(UsageError, match="no Dask scheduler answers"):
        DaskExecutor(address="tcp://127.0.0.1:9").execute(work, ToyHost(work.folder, ("first",)))


def test_option_out_of_range_is_refused() -> None:
    with pytest.raises(OptionError, match="threads must be at least 1"):
        DaskExecutor(threads=0)


def test_offer_names_the_factory() -> None:
    (offer,) = benchbench_executors()
    assert (offer.name, offer.factory) == ("dask", f"{DaskExecutor.__module__}:{DaskExecutor.__qualname__}")
