"""Chooses the workers of a run: several of one thread each, or this process alone.

On CUDA, the room on the GPUs limits the workers, because a small model does not fill a GPU. The first models of a run are tried
in this process: one step of their training and one batch of their evaluation, while the GPU's memory is measured. For models
that are not tried within some seconds, the prediction counts.

On a CPU, workers of one thread each are faster than one process with as many threads (docs/executors.md has the measurement).
Every model of such a run gets one thread, so that rows do not depend on the number of workers, which follows from cores, memory
and the remaining work.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.contract import frozen
from benchbench.errors import PLUGIN_FAULTS
from benchbench.executors.crew import LOCAL, Crew, choose_crew
from benchbench.executors.local import SPARE
from benchbench.executors.slots import (
    GIB,
    PROCESS_BYTES,
    USABLE,
    available_cores,
    available_memory_bytes,
    cores_for_workers,
    places,
    visible_gpus,
)
from benchbench.planning.preparing import Prepared
from benchbench.running.execution import RunResult, execute, with_prices

if TYPE_CHECKING:
    from benchbench.cell.model import Cell
    from benchbench.events import Listener
    from benchbench.planning import Plan
    from benchbench.stopping import StopRequest

_log = logging.getLogger(__name__)
PROBE_SECONDS = 20.0  # no further model is tried afterwards
ROOM = 1.2  # factor on a measurement: attacks keep different amounts
GUESSED = 2.0  # factor on a prediction, which covers only one pass through the network


@dataclasses.dataclass(frozen=True, kw_only=True)
class Share:
    """The memory of a worker on a GPU, and the number of workers that have room."""

    workers: int  # on all GPUs together, at least one on each
    gpus: int  # their number
    need_bytes: int  # of one worker, including the process
    measured: bool  # whether the largest need was measured, not predicted

    def __str__(self) -> str:
        where = "the GPU" if self.gpus == 1 else f"{self.gpus} GPUs"
        how = "measured" if self.measured else "predicted"
        return f"share {where}, {self.need_bytes / GIB:.1f} GiB each ({how})"


def share_gpus(prepared: Prepared) -> Share:
    """Find the room for workers, for a plan with prices and ready cells on CUDA."""
    import torch

    needs = _needs(prepared)
    torch.cuda.empty_cache()
    gpus = visible_gpus()
    need, measured = max(needs)
    # A worker that needs more than a GPU has gets one for itself, and tries.
    need = min(need + PROCESS_BYTES, *(int(USABLE * gpu.memory_bytes) for gpu in gpus))
    return Share(workers=sum(places(gpu, need) for gpu in gpus), gpus=len(gpus), need_bytes=need, measured=measured)


def _needs(prepared: Prepared) -> list[tuple[int, bool]]:
    """Bytes that each kind of model needs, and whether they were measured."""
    predicted = {p.cell.cell_id: p.price.memory_bytes or 0 for p in prepared.plan.cells if p.cell and p.price}
    kinds: dict[str, Cell] = {}
    for cell in sorted(prepared.plan.ready, key=lambda cell: -predicted.get(cell.cell_id, 0)):
        spec = cell.training  # its seed and its examples do not change the memory
        kinds.setdefault(str((spec.dataset, spec.architecture, spec.defense, spec.recipe)), cell)
    end, needs = time.monotonic() + PROBE_SECONDS, []
    for cell in kinds.values():
        measured = _measure(cell, prepared) if time.monotonic() < end else None
        guess = int(GUESSED * predicted.get(cell.cell_id, 0))
        needs.append((guess, False) if measured is None else (int(ROOM * measured), True))
    return needs


def _measure(cell: Cell, prepared: Prepared) -> int | None:
    """Bytes that training and evaluation take; of a GPU all if too large, None after an error."""
    import torch

    device = prepared.device
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    try:
        with torch.random.fork_rng(devices=[device]):
            _try(cell, prepared)
    except torch.OutOfMemoryError:
        return int(torch.cuda.mem_get_info(device)[1])
    except PLUGIN_FAULTS:  # the cell reports the error when it runs
        _log.debug("cell %s cannot be tried", cell.cell_id, exc_info=True)
        return None
    return int(torch.cuda.max_memory_reserved(device)) - before + _held_bytes(cell, prepared)


def _try(cell: Cell, prepared: Prepared) -> None:
    """Train one step, then pass one batch forward and back."""
    import torch

    from benchbench.contract import Examples
    from benchbench.evaluation.subject import default_batch_size
    from benchbench.harness.cells import training_job
    from benchbench.harness.fitting import trains_in_steps
    from benchbench.training import train

    spec, device = cell.training, prepared.device
    splits = prepared.plan.datasets.splits(spec.dataset)
    defense, size = prepared.registry.make("defense", spec.defense), spec.recipe.batch_size
    if not trains_in_steps(defense, splits):
        return
    whole = training_job(cell, defense, splits, prepared.registry, device)
    batch = Examples(inputs=whole.examples.inputs[:size], labels=whole.examples.labels[:size])
    recipe = dataclasses.replace(spec.recipe, epochs=1)
    model = train(
        dataclasses.replace(whole, examples=batch, rows=whole.rows[:size], recipe=recipe, validation=None)
    ).model
    with frozen(model):
        images = torch.zeros(default_batch_size(device), *splits.input_shape, device=device, requires_grad=True)
        torch.autograd.grad(model(images).sum(), images)


def _held_bytes(cell: Cell, prepared: Prepared) -> int:
    """Bytes of the examples that stay on the GPU; a single step does not need all of them."""
    inputs = prepared.plan.datasets.splits(cell.training.dataset).train.inputs
    each = inputs[0].numel() * inputs.element_size()
    return int(each * (cell.training.n_train + cell.evaluation.n_test))


AUTO = "auto"
SLACK = 0.9
WORTH_SECONDS = 15.0  # of predicted work for each worker, whose start takes some seconds of a core
_OF_THE_MODEL = (
    *("experiment", "dataset", "architecture", "architecture_options", "defense", "defense_options"),
    *("train_norm", "train_epsilon", "seed"),
)


@dataclass(frozen=True, kw_only=True)
class Staff:
    """The workers of a run (None for this process alone), and the reason for people."""

    crew: Crew | None
    reason: str


def execute_as_suits(prepared: Prepared, *, listener: Listener, stop: StopRequest) -> RunResult:
    """`execute` by the number of workers that suits the machine and the work."""
    from benchbench.kernels.determinism import on_threads

    if not is_divided(prepared):
        return execute(with_prices(prepared), listener=listener, stop=stop)
    with on_threads(1):
        priced = with_prices(prepared)
        staff = choose_staff(priced)
        return execute(priced, listener=listener, stop=stop, crew=staff.crew, reason=staff.reason)


def is_divided(prepared: Prepared) -> bool:
    """Whether each model gets one thread: if the selection has several models and no one GPU."""
    models = {tuple(planned.identity[column] for column in _OF_THE_MODEL) for planned in prepared.plan.cells}
    return prepared.device.index is None and len(models) > 1


def choose_staff(prepared: Prepared) -> Staff:
    """The workers that cores, models, memory and work of a plan with prices allow."""
    plan = prepared.plan
    if not plan.ready:
        return Staff(crew=None, reason="")
    on_gpus = prepared.device.type == "cuda"
    limits = list(_limits(plan, on_gpus=on_gpus))
    share = share_gpus(prepared) if on_gpus and min(number for number, _ in limits) > 1 else None
    if share is not None:
        limits.append((share.workers, f"their memory has room for {share.workers}"))
    most, why = min(limits, key=lambda limit: limit[0])
    if most < 2 or os.name != "posix":
        more = "; --jobs 1 would use all threads" if on_gpus or cores_for_workers() > 1 else ""
        return Staff(crew=None, reason=f"one thread, in this process: {why}{more}")
    # Less than needed, so that the executor does not refuse if others use a little more of a GPU meanwhile.
    stated = {} if share is None else {"gpu_memory_gb": SLACK * share.need_bytes / GIB}
    crew = choose_crew({"name": LOCAL, "threads": 1, **stated}, most, prepared.registry)
    shared = "" if share is None else f" {share}"
    reason = f"{most} workers of one thread each{shared}: {why}; --jobs 1 is this process alone, with all threads"
    return Staff(crew=crew, reason=reason)


def _limits(plan: Plan, *, on_gpus: bool) -> Iterator[tuple[int, str]]:
    """Yield upper bounds on the workers with reasons; on a tie the first is shown."""
    present = available_cores()
    cores = present if on_gpus else cores_for_workers()  # OMP_NUM_THREADS does not limit GPU work
    models = len({cell.training.model_id for cell in plan.ready})
    yield cores, f"OMP_NUM_THREADS is {cores}" if cores < present else f"there {_are(cores, 'core')}"
    yield models, f"there {_are(models, 'model')} to compute"
    room = _room(plan, on_gpus=on_gpus)
    if room is not None:
        yield max(room, 1), f"the memory that is free has room for {max(room, 1)}"
    estimates = [planned.estimate_seconds for planned in plan.cells if planned.status == "ready"]
    seconds = [estimate for estimate in estimates if estimate is not None]
    if len(seconds) == len(estimates):  # work of unknown length may be long
        yield max(int(sum(seconds) / WORTH_SECONDS), 1), f"there are about {sum(seconds):.0f} s of work"


def _room(plan: Plan, *, on_gpus: bool) -> int | None:
    """The number of workers that fit into free memory; None if that is unknown."""
    free = available_memory_bytes()
    if on_gpus:  # which hold the models
        return None if free is None else int(free / (SPARE * PROCESS_BYTES))
    needs = [p.price.memory_bytes for p in plan.cells if p.status == "ready" and p.price and p.price.memory_bytes]
    return None if free is None else int(free / (SPARE * (max(needs, default=0) + PROCESS_BYTES)))


def _are(count: int, what: str) -> str:
    return f"is one {what}" if count == 1 else f"are {count} {what}s"
