"""The run's side of an executor: the job is written, carried out under supervision, and counted."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from benchbench.cell.model import Cell, digest, stated_fields
from benchbench.contract import Work, WorkUnit
from benchbench.errors import DataError, StorageError
from benchbench.events import Note
from benchbench.executors.crew import Crew
from benchbench.executors.job import Job, job_folder, read_job, suite_copy, write_job
from benchbench.executors.machine import PROCESS_BYTES
from benchbench.executors.supervising import Supervisor, Surroundings
from benchbench.harness.cells import checkpoint_times, describe_model
from benchbench.harness.evaluating import ModelMeasurements
from benchbench.harness.scheduling import Tally
from benchbench.planning.preparing import Prepared, Request
from benchbench.records import Provenance, failed_row
from benchbench.settings import Folders
from benchbench.stopping import Stopped, StopRequest
from benchbench.suite.source import read_text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Commission:
    """A planned run that is to be carried out by others.

    Attributes:
        prepared: the plan, with the predicted seconds of its cells.
        crew: who does it.
        listener: is told what happens, see `benchbench.events`.
        stop: ends it.
        rebuild: brings the leaderboard up to date.
    """

    prepared: Prepared
    crew: Crew
    listener: Callable[..., None]
    stop: StopRequest
    rebuild: Callable[[], object]


def carry_out(commission: Commission, estimates: Mapping[str, float]) -> Tally:
    """Have the ready cells of a plan computed by workers; the folder of the job goes when nothing is left of it.

    Args:
        commission: the run.
        estimates: predicted seconds by cell id, as far as they are known.

    Raises:
        BenchbenchError: the executor cannot do it, or a worker cannot go on.
        KeyboardInterrupt: the user interrupted; whether workers go on, the executor has said.
    """
    prepared = commission.prepared
    cells = prepared.plan.ready
    suite = read_text(Path(prepared.suite.source))
    job = _job(commission, estimates, suite)
    write_job(job, suite.encode())
    surroundings = Surroundings(
        store=prepared.store,
        listener=commission.listener,
        stop=commission.stop,
        fail=lambda cell, error: _record_death(prepared, cell, error),
        rebuild=commission.rebuild,
    )
    supervisor = Supervisor(job, cells, surroundings, commission.crew.workers)
    _leave_the_gpu(commission)
    with suppress(Stopped):  # what is left is counted
        commission.crew.executor.execute(_work(commission, job, cells, estimates), supervisor)
        supervisor.follow()
    tally = supervisor.tally()
    if not (tally.left and commission.crew.elsewhere):
        _clear(job, cells, prepared)
    return tally


def _leave_the_gpu(commission: Commission) -> None:
    """Give back what the plan's pilot took of a GPU: the memory is for the workers."""
    if commission.prepared.device.type == "cuda":
        import torch

        torch.cuda.empty_cache()


def _clear(job: Job, cells: tuple[Cell, ...], prepared: Prepared) -> None:
    """Remove what nobody needs once the job is over."""
    shutil.rmtree(job.folder, ignore_errors=True)
    if job.request.fresh:
        for cell in cells:
            ModelMeasurements(prepared.store, cell, job.token).forget()


def job_name(request: Request, profile: str, executor: str, suite: str) -> str:
    """The name of the job of a command: the same for the same command, for as long as the suite's text is the same."""
    asked = {**stated_fields(request), "suite": suite, "profile": profile, "fresh": False, "executor": executor}
    return digest(asked)


def _job(commission: Commission, estimates: Mapping[str, float], suite: str) -> Job:
    prepared, request, store = commission.prepared, commission.prepared.request, commission.prepared.store
    name = job_name(request, prepared.profile, commission.crew.name, suite)
    earlier = _earlier_job(commission, name)
    token = earlier.token if earlier else secrets.token_hex(16)
    folder = job_folder(commission.prepared.folders, name if commission.crew.elsewhere else f"{name}-{token[:8]}")
    cells = prepared.plan.ready
    left = commission.stop.seconds_left
    continued = earlier if earlier and request.fresh and earlier.request.fresh else None
    job = Job(
        folder=folder,
        token=token,
        request=dataclasses.replace(request, suite=str(suite_copy(folder)), profile=prepared.profile),
        folders=_absolute(commission.prepared.folders),
        units={name: tuple(cell.cell_id for cell in unit) for name, unit in _by_model(cells).items()},
        estimates=estimates,
        before={cell.cell_id: store.record_times(cell.cell_id) for cell in cells},
        checkpoints=checkpoint_times(cells, store),
        begun=time.time(),
        deadline=time.time() + left if commission.stop.limited else None,
    )
    return job if continued is None else _continued(job, continued, commission)


def _earlier_job(commission: Commission, name: str) -> Job | None:
    """The same command's last job, where its workers may still be at work elsewhere."""
    if not commission.crew.elsewhere:
        return None
    try:
        return read_job(job_folder(commission.prepared.folders, name))
    except (StorageError, DataError):
        return None


def _continued(job: Job, earlier: Job, commission: Commission) -> Job:
    """A fresh run that was interrupted goes on: what was recorded since it began is its own work, and stays."""
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(earlier.begun))
    done = sum(times != earlier.before.get(cell_id, times) for cell_id, times in job.before.items())
    said = f"going on with the fresh run that was begun on {began}: {done} of its {len(job.before)} cells are recorded"
    commission.listener(Note(message=f"{said}; to begin another one, remove {job.folder}"))
    return dataclasses.replace(
        job,
        before={**job.before, **{cell: times for cell, times in earlier.before.items() if cell in job.before}},
        checkpoints={**job.checkpoints, **{m: t for m, t in earlier.checkpoints.items() if m in job.checkpoints}},
        begun=earlier.begun,
    )


def _work(commission: Commission, job: Job, cells: tuple[Cell, ...], estimates: Mapping[str, float]) -> Work:
    device = commission.prepared.request.device or commission.prepared.device.type
    memory = {p.cell.cell_id: p.price.memory_bytes for p in commission.prepared.plan.cells if p.cell and p.price}
    return Work(
        name=job.folder.name.partition("-")[0],
        folder=job.folder,
        token=job.token,
        units=tuple(_unit(name, unit, estimates, memory) for name, unit in _by_model(cells).items()),
        workers=commission.crew.workers,
        device=device.partition(":")[0],
        program=(sys.executable, "-m", "benchbench", "work", str(job.folder), "--token", job.token),
    )


def _unit(name: str, cells: list[Cell], estimates: Mapping[str, float], memory: Mapping[str, int | None]) -> WorkUnit:
    needs = [need for need in (memory.get(cell.cell_id) for cell in cells) if need is not None]
    seconds = [estimates[cell.cell_id] for cell in cells if cell.cell_id in estimates]
    return WorkUnit(
        name=name,
        label=f"{describe_model(cells[0])}, seed {cells[0].training.seed}",
        defense=cells[0].training.defense.name,
        cells=len(cells),
        seconds=sum(seconds) if seconds else None,
        memory_bytes=max(needs) + PROCESS_BYTES if needs else None,
    )


def _by_model(cells: tuple[Cell, ...]) -> dict[str, list[Cell]]:
    """The cells of each model, by its id; those of a model are adjacent in a plan, but several experiments may have it."""
    units: dict[str, list[Cell]] = {}
    for name, group in groupby(cells, key=lambda cell: cell.training.model_id):
        units.setdefault(name, []).extend(group)
    return units


def _absolute(folders: Folders) -> Folders:
    return Folders(
        data=folders.data.absolute(),
        home=folders.home.absolute(),
        runs=folders.runs.absolute(),
        leaderboards=folders.leaderboards.absolute(),
    )


def _record_death(prepared: Prepared, cell: Cell, error: str) -> None:
    """Record that a cell has cost several workers their lives, so that it costs no more."""
    from benchbench.records import provenance

    told = Provenance(
        precision=cell.evaluation.precision,
        device=prepared.device.type,
        versions=provenance.versions(),
        git_commit=provenance.git_commit() or "",
    )
    prepared.store.write_cell(failed_row(cell, error, provenance=told))
