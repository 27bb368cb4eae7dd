"""The worker's side: the harness at work on some units of a job, in a process of its own."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.contract import NOT_SHARED
from benchbench.errors import BenchbenchError, DataError, StorageError
from benchbench.executors.job import Job, read_job
from benchbench.executors.journal import Hello, Journal, WorkerTrouble
from benchbench.planning import Plan
from benchbench.planning.preparing import Prepared, prepare
from benchbench.records.claims import Claims, folder_clock_ahead
from benchbench.stopping import StopRequest

if TYPE_CHECKING:
    from benchbench.cell.model import Cell
    from benchbench.harness.scheduling import Tally
    from benchbench.records import RunStore


class NotSharedError(StorageError):
    """The folder that a worker sees is not the one of the run that started it."""

    exit_status = NOT_SHARED


def open_job(folder: Path, token: str) -> Job:
    """Read a job, and make sure that it is the one that is meant.

    Raises:
        NotSharedError: the folder holds none, or another one.
        DataError: the job file is damaged.
    """
    hint = "the runs folder has to lie on a file system that all machines share: choose one with --runs"
    try:
        job = read_job(folder)
    except StorageError as error:
        raise NotSharedError(f"{error.message} on {socket.gethostname()}", hint=hint) from error
    if job.token != token:
        raise NotSharedError(f"{folder} on {socket.gethostname()} is not the folder that the run wrote to", hint=hint)
    return job


def stop_request(job: Job) -> StopRequest:
    """What ends a worker: the moment at which the budget of the run is used up, or somebody's wish."""
    return StopRequest(None if job.deadline is None else max(job.deadline - time.time(), 0.0), reserved=True)


def work(job: Job, *, worker: str, units: Sequence[str], stop: StopRequest) -> int:
    """Compute the cells of some units that nobody has computed yet, and bring the leaderboard up to date.

    Args:
        job: from `open_job`.
        worker: the name under which this process keeps its journal.
        units: their names; empty for all.
        stop: ends the work at a moment when nothing is lost.

    Returns:
        How many cells are left because it was stopped.

    Raises:
        BenchbenchError: it cannot go on; the journal says so, too.
    """
    journal = Journal(job.journals, worker)
    try:
        return len(_work(job, units, journal, stop).left)
    except BenchbenchError as error:
        journal.write(WorkerTrouble(message=error.message, hint=error.hint))
        raise


def _work(job: Job, units: Sequence[str], journal: Journal, stop: StopRequest) -> Tally:
    from benchbench.harness.scheduling import run_cells
    from benchbench.harness.workbench import Workbench
    from benchbench.leaderboard import rebuild

    prepared = prepare(job.request, job.folders)
    journal.write(_hello(job, prepared))
    bench = Workbench(
        registry=prepared.registry,
        store=prepared.store,
        splits=prepared.plan.datasets.splits,
        forget=prepared.plan.datasets.forget,
        device=prepared.device,
        listener=journal.write,
        cuda_graphs=job.request.cuda_graphs,
        fresh=job.request.fresh,
        part_of=job.token,
        earlier={**job.checkpoints},
        stop=stop,
    )
    cells = [*_cells_to_compute(job, units, prepared)]
    try:
        return run_cells(cells, bench, estimates=job.estimates, claims=Claims(prepared.store.claims), before=job.before)
    finally:
        rebuild(prepared.leaderboard, prepared.store, prepared.suite.name)


def _hello(job: Job, prepared: Prepared) -> Hello:
    from benchbench.records.provenance import describe_device

    return Hello(
        host=socket.gethostname(),
        pid=os.getpid(),
        device=describe_device(prepared.device),
        clock_ahead=-folder_clock_ahead(job.journals),
    )


def _cells_to_compute(job: Job, units: Sequence[str], prepared: Prepared) -> Iterator[Cell]:
    wanted = {*chain.from_iterable(job.units.get(name, ()) for name in units or job.units)}
    _check_that_all_can_be_planned(wanted, prepared.plan)
    for cell in prepared.plan.ready:
        if cell.cell_id in wanted and not is_over(job, prepared.store, cell.cell_id):
            yield cell


def _check_that_all_can_be_planned(wanted: Collection[str], plan: Plan) -> None:
    """What the run could plan, this machine must be able to plan, too; it may lack the data."""
    unknown = set(wanted) - {planned.cell.cell_id for planned in plan.cells if planned.cell is not None}
    if unknown:
        reasons = dict.fromkeys(planned.reason for planned in plan.cells if planned.cell is None)
        raise DataError(
            f"{len(unknown)} cells of the run cannot be planned on {socket.gethostname()}",
            hint="; ".join(reasons) or "plugins or data changed since the run was begun: give its command again",
        )


def is_over(job: Job, store: RunStore, cell_id: str) -> bool:
    """Whether a cell was recorded, finished or failed, since the job was written."""
    return store.record_times(cell_id) != job.before.get(cell_id)
