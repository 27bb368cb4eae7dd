"""The run's side of an executor: writes the job, supervises it, and counts the results."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import torch

from benchbench.cell.model import Cell, digest, stated_fields
from benchbench.contract import Work, WorkUnit
from benchbench.errors import DataError, StorageError
from benchbench.events import Note
from benchbench.executors.crew import Commission
from benchbench.executors.job import Job, job_folder, read_job, suite_copy, write_job
from benchbench.executors.slots import PROCESS_BYTES
from benchbench.executors.supervising import Supervisor
from benchbench.harness.cells import checkpoint_times
from benchbench.harness.evaluating import ModelMeasurements
from benchbench.harness.scheduling import Tally
from benchbench.leaderboard.identity import grouped
from benchbench.leaderboard.names import describe_model
from benchbench.settings import Folders
from benchbench.stopping import Stopped
from benchbench.suite.explanation import carried_text


def carry_out(commission: Commission) -> Tally:
    """Let workers compute the ready cells; delete the job folder once no work is left."""
    prepared, crew = commission.prepared, commission.crew
    units = grouped(prepared.plan.ready, lambda cell: cell.training.model_id)  # several experiments may share a model
    suite = carried_text(prepared.suite, prepared.registry)
    job = _job(commission, units, suite)
    write_job(job, suite.encode())
    supervisor = Supervisor(job, commission)
    if prepared.device.type == "cuda":
        torch.cuda.empty_cache()  # the workers need what pricing took
    with suppress(Stopped):  # the tally has the remaining cells
        crew.executor.execute(_work(commission, job, units), supervisor)
        supervisor.follow()
    tally = supervisor.tally()
    if not (tally.left and crew.elsewhere):
        shutil.rmtree(job.folder, ignore_errors=True)
        for cell in prepared.plan.ready if job.request.fresh else ():
            ModelMeasurements(prepared.store, cell, job.token).forget()
    return tally


def _job(commission: Commission, units: Mapping[str, Sequence[Cell]], suite: str) -> Job:
    prepared, crew, stop = commission.prepared, commission.crew, commission.stop
    request, store, cells = prepared.request, prepared.store, prepared.plan.ready
    # equal for equal commands, as long as the suite's text is equal
    command = {"suite": suite, "profile": prepared.profile, "fresh": False, "executor": crew.name}
    name = digest({**stated_fields(request), **command})
    earlier = _earlier_job(commission, name)
    token = earlier.token if earlier else secrets.token_hex(16)
    folder = job_folder(prepared.folders, name if crew.elsewhere else f"{name}-{token[:8]}")
    absolute = {field.name: getattr(prepared.folders, field.name).absolute() for field in dataclasses.fields(Folders)}
    job = Job(
        folder=folder,
        token=token,
        request=dataclasses.replace(request, suite=str(suite_copy(folder)), profile=prepared.profile),
        folders=Folders(**absolute),
        units={name: tuple(cell.cell_id for cell in unit) for name, unit in units.items()},
        estimates=commission.estimates,
        before={cell.cell_id: store.record_times(cell.cell_id) for cell in cells},
        checkpoints=checkpoint_times(cells, store),
        begun=time.time(),
        deadline=time.time() + stop.seconds_left if stop.limited else None,
    )
    if earlier and request.fresh and earlier.request.fresh:
        return _continued(job, earlier, commission)
    return job


def _earlier_job(commission: Commission, name: str) -> Job | None:
    """The same command's last job, if its workers may still compute elsewhere."""
    if not commission.crew.elsewhere:
        return None
    try:
        return read_job(job_folder(commission.prepared.folders, name))
    except (StorageError, DataError):
        return None


def _continued(job: Job, earlier: Job, commission: Commission) -> Job:
    """Continue an interrupted fresh run: results recorded since it began stay."""
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


def _work(commission: Commission, job: Job, units: Mapping[str, Sequence[Cell]]) -> Work:
    prepared = commission.prepared
    device = prepared.request.device or prepared.device.type
    memory = {p.cell.cell_id: p.price.memory_bytes for p in prepared.plan.cells if p.cell and p.price}
    return Work(
        name=job.folder.name.partition("-")[0],
        folder=job.folder,
        token=job.token,
        units=tuple(_unit(name, unit, commission.estimates, memory) for name, unit in units.items()),
        workers=commission.crew.workers,
        device=device.partition(":")[0],
        program=(sys.executable, "-m", "benchbench", "work", str(job.folder), "--token", job.token),
    )


def _unit(
    name: str, cells: Sequence[Cell], estimates: Mapping[str, float], memory: Mapping[str, int | None]
) -> WorkUnit:
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
