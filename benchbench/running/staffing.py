"""Chooses the workers of a run: several of one thread each, or this process alone.

On CUDA, the room on the GPUs limits the workers (`benchbench.running.gpu_sharing`). On a CPU, workers of one thread each are
faster than one process with as many threads (docs/executors.md has the measurement). Every model of such a run gets one thread,
so that rows do not depend on the number of workers, which follows from cores, memory and the remaining work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.executors.crew import LOCAL, Crew, choose_crew
from benchbench.executors.local import SPARE
from benchbench.executors.machine import PROCESS_BYTES, available_cores, available_memory_bytes, cores_for_workers
from benchbench.executors.slots import GIB
from benchbench.planning.preparing import Prepared
from benchbench.running.execution import RunResult, execute, with_prices
from benchbench.running.gpu_sharing import share_gpus

if TYPE_CHECKING:
    from benchbench.events import Listener
    from benchbench.planning import Plan
    from benchbench.stopping import StopRequest

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
    """Whether each model gets one thread: if the selection has several models, finished or not.

    One GPU, for instance ``cuda:1``, is for this process alone.
    """
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
        return Staff(crew=None, reason=f"one thread, in this process: {why}; --jobs 1 would use all threads")
    # Less than needed, so that the executor does not refuse if others use a little more of a GPU meanwhile.
    stated = {} if share is None else {"gpu_memory_gb": SLACK * share.need_bytes / GIB}
    crew = choose_crew({"name": LOCAL, "threads": 1, **stated}, most, prepared.registry)
    shared = "" if share is None else f" {share}"
    reason = f"{most} workers of one thread each{shared}: {why}; --jobs 1 is this process alone, with all threads"
    return Staff(crew=crew, reason=reason)


def _limits(plan: Plan, *, on_gpus: bool) -> Iterator[tuple[int, str]]:
    """Yield upper bounds on the workers with reasons; on a tie the first is shown."""
    cores = available_cores() if on_gpus else cores_for_workers()  # OMP_NUM_THREADS does not limit GPU work
    models = len({cell.training.model_id for cell in plan.ready})
    yield cores, f"there {_are(cores, 'core')}"
    yield models, f"there {_are(models, 'model')} to compute"
    room = _room(plan, on_gpus=on_gpus)
    if room is not None:
        yield max(room, 1), f"the memory that is free has room for {max(room, 1)}"
    seconds = sum(planned.estimate_seconds or 0.0 for planned in plan.cells)
    worth = max(int(seconds / WORTH_SECONDS), 1)
    yield worth, f"there are about {seconds:.0f} s of work"


def _room(plan: Plan, *, on_gpus: bool) -> int | None:
    """The number of workers that fit into free memory; None if that is unknown."""
    free = available_memory_bytes()
    if on_gpus:  # which hold the models
        return None if free is None else int(free / (SPARE * PROCESS_BYTES))
    needs = [p.price.memory_bytes for p in plan.cells if p.status == "ready" and p.price and p.price.memory_bytes]
    return None if free is None else int(free / (SPARE * (max(needs, default=0) + PROCESS_BYTES)))


def _are(count: int, what: str) -> str:
    return f"is one {what}" if count == 1 else f"are {count} {what}s"
