"""Simulate the list schedule of a priced plan on devices that share a runs folder.

Each idle device takes the first task that can begin: a model is trained before it is evaluated, and its evaluations may
run on other devices. Graham's bounds hold: a list schedule takes at most 2 - 1/m times as long as the best one
(R. L. Graham, "Bounds on multiprocessing timing anomalies", 1969).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchbench.planning.model import PlannedCell

EXAMPLES_PER_SHARD = 1024  # see `benchbench.evaluation.subject`, which needs torch


@dataclass(frozen=True, kw_only=True)
class Task:
    """Work that one device does without interruption.

    Attributes:
        seconds: at least 0.
        after: position in the list of the task that must end before this one begins; None for none.
    """

    seconds: float
    after: int | None = None


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The result of a simulation.

    Attributes:
        seconds: until the last task ends.
        busy: share of the devices' time until then that is work, in [0, 1].
        begins: when each task begins.
    """

    seconds: float
    busy: float
    begins: tuple[float, ...]


def simulate(tasks: Sequence[Task], devices: int) -> Schedule:
    """Let devices do the tasks of a list.

    Args:
        tasks: in the order in which they are taken; each comes after the one that it waits for.
        devices: how many, at least 1.
    """
    waiting: dict[int, list[int]] = {}
    for number, task in enumerate(tasks):
        if task.after is not None:
            waiting.setdefault(task.after, []).append(number)
    ready = [number for number, task in enumerate(tasks) if task.after is None]
    begins = [0.0] * len(tasks)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < devices:
            number = heapq.heappop(ready)
            begins[number] = now
            heapq.heappush(running, (now + tasks[number].seconds, number))
        now = running[0][0]
        while running and running[0][0] == now:  # tasks that end at the same time free their devices at the same time
            _, ended = heapq.heappop(running)
            for number in waiting.get(ended, ()):
                heapq.heappush(ready, number)
    work = sum(task.seconds for task in tasks)
    return Schedule(seconds=now, busy=work / (devices * now) if now else 1.0, begins=tuple(begins))


def shortest(tasks: Sequence[Task], devices: int) -> float:
    """Seconds that no schedule can beat: all work spread evenly, or the longest chain of tasks."""
    ends: list[float] = []
    for task in tasks:
        ends.append(task.seconds + (0.0 if task.after is None else ends[task.after]))
    return max(sum(task.seconds for task in tasks) / devices, max(ends, default=0.0))


def tasks_of(
    cells: Iterable[PlannedCell], *, sharded: bool = True, ranks: int = 1, overhead: float = 0.0
) -> list[Task]:
    """Tasks of a priced plan: each model's training, and its evaluations whole or in shards.

    Args:
        cells: in the plan's order, those of a model adjacent; those without a price are left out.
        sharded: whether several devices may evaluate one cell.
        ranks: devices that work together as one, each training step divided among them.
        overhead: share by which the work of a training step grows when it is divided.
    """
    tasks: list[Task] = []
    trained: int | None = None
    for planned in cells:
        if planned.price is None or planned.known is None:
            continue
        if planned.price.train_seconds:
            faster = ranks if ranks == 1 else ranks / (1 + overhead)
            trained = len(tasks)
            tasks.append(Task(seconds=planned.price.train_seconds / faster))
            model = planned.known.training
        elif trained is None or planned.known.training != model:
            trained = None  # a model that needs no training
            model = planned.known.training
        tasks += _evaluation(planned, trained, sharded=sharded, ranks=ranks)
    return tasks


def _evaluation(planned: PlannedCell, after: int | None, *, sharded: bool, ranks: int) -> Iterator[Task]:
    if planned.price is None or planned.known is None:
        return
    spec = planned.known.evaluation
    pieces = math.ceil((spec.n_test + spec.n_train_evaluated) / EXAMPLES_PER_SHARD) if sharded else 1
    for _ in range(pieces):
        yield Task(seconds=planned.price.evaluate_seconds / pieces / ranks, after=after)


def longest_first(tasks: Sequence[Task]) -> list[Task]:
    """The same tasks, longest chains first; each stays after the task that it waits for."""
    chains = [task.seconds for task in tasks]
    for number in range(len(tasks) - 1, -1, -1):
        after = tasks[number].after
        if after is not None:
            chains[after] = max(chains[after], tasks[after].seconds + chains[number])
    order = sorted(range(len(tasks)), key=lambda number: (-chains[number], number))
    order.sort(key=lambda number: tasks[number].after is not None)  # stable: tasks that wait for others come last
    places = {number: place for place, number in enumerate(order)}
    return [
        Task(seconds=tasks[n].seconds, after=None if (after := tasks[n].after) is None else places[after])
        for n in order
    ]
