"""The worker's side: a process that computes some units of a job."""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.contract import NOT_SHARED
from benchbench.errors import BenchbenchError, DataError, StorageError
from benchbench.events import Listener
from benchbench.executors.job import Job, read_job
from benchbench.executors.journal import Hello, Journal, WorkerTrouble
from benchbench.planning.preparing import Prepared, prepare
from benchbench.records.claims import Claims, folder_clock_ahead
from benchbench.stopping import StopRequest

if TYPE_CHECKING:
    from benchbench.cell.model import Cell
    from benchbench.harness.scheduling import Tally
    from benchbench.harness.workbench import Workbench


class NotSharedError(StorageError):
    """The folder that a worker sees is not the one of the run that started it."""

    exit_status = NOT_SHARED


def open_job(folder: Path, token: str) -> Job:
    """Read the job that has this token; NotSharedError if the folder holds none, or another one."""
    hint = "the runs folder has to lie on a file system that all machines share: choose one with --runs"
    try:
        job = read_job(folder)
    except StorageError as error:
        raise NotSharedError(f"{error.message} on {socket.gethostname()}", hint=hint) from error
    if job.token != token:
        raise NotSharedError(f"{folder} on {socket.gethostname()} is not the folder that the run wrote to", hint=hint)
    return job


def stop_request(job: Job) -> StopRequest:
    """A request that is due when the budget of the run is used up, or when a stop is requested."""
    return StopRequest(None if job.deadline is None else max(job.deadline - time.time(), 0.0), reserved=True)


def work(job: Job, *, worker: str, units: Sequence[str], stop: StopRequest) -> int:
    """Compute the remaining cells of some units, or of all; return how many a stop has left.

    An error with which the worker cannot continue is raised, and written to the journal of this name, too.
    """
    journal = Journal(job.journals, worker)
    try:
        return len(_work(job, units, journal, stop).left)
    except BenchbenchError as error:
        journal.write(WorkerTrouble(message=error.message, hint=error.hint))
        raise


def _work(job: Job, units: Sequence[str], journal: Journal, stop: StopRequest) -> Tally:
    from benchbench.harness.scheduling import run_cells
    from benchbench.leaderboard import rebuild
    from benchbench.records.provenance import describe_device

    prepared = prepare(job.request, job.folders)
    hello = Hello(
        host=socket.gethostname(),
        pid=os.getpid(),
        device=describe_device(prepared.device),
        clock_ahead=-folder_clock_ahead(job.journals),
    )
    journal.write(hello)
    bench = workbench(prepared, journal.write, stop)
    bench = dataclasses.replace(bench, part_of=job.token, earlier={**job.checkpoints})
    cells = [*_cells_to_compute(job, units, prepared)]
    try:
        return run_cells(cells, bench, estimates=job.estimates, before=job.before)
    finally:
        rebuild(prepared.leaderboard, prepared.store, prepared.suite.name)


def workbench(prepared: Prepared, listener: Listener, stop: StopRequest) -> Workbench:
    """The workbench of a plan, for cells that this process shares with others by claims."""
    from benchbench.harness.workbench import Workbench

    return Workbench(
        registry=prepared.registry,
        store=prepared.store,
        splits=prepared.plan.datasets.splits,
        forget=prepared.plan.datasets.forget,
        device=prepared.device,
        listener=listener,
        cuda_graphs=prepared.request.cuda_graphs,
        fresh=prepared.request.fresh,
        stop=stop,
        claims=Claims(prepared.store.claims),
        ranks=prepared.ranks,
    )


def _cells_to_compute(job: Job, units: Sequence[str], prepared: Prepared) -> Iterator[Cell]:
    wanted = {*chain.from_iterable(job.units.get(name, ()) for name in units or job.units)}
    # the run could plan all these cells, but this machine may lack their data
    unknown = wanted - {planned.cell.cell_id for planned in prepared.plan.cells if planned.cell is not None}
    if unknown:
        reasons = dict.fromkeys(planned.reason for planned in prepared.plan.cells if planned.cell is None)
        raise DataError(
            f"{len(unknown)} cells of the run cannot be planned on {socket.gethostname()}",
            hint="; ".join(reasons) or "plugins or data changed since the run was begun: give its command again",
        )
    for cell in prepared.plan.ready:
        # recorded cells, finished or failed, have newer times than the job
        if cell.cell_id in wanted and prepared.store.record_times(cell.cell_id) == job.before.get(cell.cell_id):
            yield cell
