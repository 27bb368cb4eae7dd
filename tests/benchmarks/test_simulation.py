"""Simulated schedules agree with a clock that ticks, and keep Graham's bounds against the best of all schedules."""

from __future__ import annotations

import dataclasses
import itertools
import random
from pathlib import Path

import pytest

from benchbench.contract import DataSource
from benchbench.evaluation.subject import EXAMPLES_PER_SHARD
from benchbench.planning import CellPrice, PlannedCell, make_plan
from benchbench.registry import load_registry
from benchbench.suite import suite_from_table
from benchmarks import simulation
from benchmarks.simulation import Task, longest_first, shortest, simulate, tasks_of


def some_tasks(seed: int) -> list[Task]:
    """Up to seven tasks of whole seconds; of those after the first, about half wait for an earlier one."""
    draw = random.Random(seed)
    tasks: list[Task] = []
    for number in range(draw.randint(1, 7)):
        after = draw.randrange(number) if number and draw.random() < 0.5 else None
        tasks.append(Task(seconds=float(draw.randint(1, 5)), after=after))
    return tasks


def tick(tasks: list[Task], devices: int) -> list[float]:
    """When each task begins, second by second."""
    left = [task.seconds for task in tasks]
    begins: list[float | None] = [None] * len(tasks)
    for now in range(100):
        running = sum(begun is not None and left[n] > 0 for n, begun in enumerate(begins))
        for number, task in enumerate(tasks):
            free = task.after is None or left[task.after] == 0
            if begins[number] is None and free and running < devices:
                begins[number], running = float(now), running + 1
        for number, begun in enumerate(begins):
            left[number] -= begun is not None and left[number] > 0
    return [begun for begun in begins if begun is not None]


def best(tasks: list[Task], devices: int) -> float:
    """The shortest schedule: for tasks that wait for nothing, some order of the list gives it."""
    return min(simulate([*order], devices).seconds for order in itertools.permutations(tasks))


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("devices", [1, 2, 3])
def test_a_schedule_is_what_a_ticking_clock_gives(seed: int, devices: int) -> None:
    tasks = some_tasks(seed)
    schedule = simulate(tasks, devices)
    assert list(schedule.begins) == tick(tasks, devices)
    assert schedule.seconds == max(b + task.seconds for b, task in zip(schedule.begins, tasks, strict=True))
    assert schedule.busy == pytest.approx(sum(task.seconds for task in tasks) / devices / schedule.seconds)
    assert schedule.seconds >= shortest(tasks, devices) - 1e-9


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("devices", [2, 3])
def test_a_schedule_is_at_most_graham_s_factor_from_the_best(seed: int, devices: int) -> None:
    tasks = [dataclasses.replace(task, after=None) for task in some_tasks(seed)][:6]
    optimum = best(tasks, devices)
    assert shortest(tasks, devices) <= optimum
    assert simulate(tasks, devices).seconds <= (2 - 1 / devices) * optimum + 1e-9
    assert simulate(longest_first(tasks), devices).seconds <= (4 / 3 - 1 / (3 * devices)) * optimum + 1e-9


def test_no_schedule_is_shorter_than_the_longest_chain_or_than_all_work_spread_evenly() -> None:
    chain = [Task(seconds=5.0), Task(seconds=7.0, after=0), Task(seconds=1.0, after=0), Task(seconds=2.0)]
    assert [shortest(chain, devices) for devices in (1, 2, 4)] == [15.0, 12.0, 12.0]
    assert shortest([], 3) == 0.0


@pytest.mark.parametrize("seed", range(30))
def test_longest_first_keeps_tasks_and_what_they_wait_for(seed: int) -> None:
    tasks = [task for task in some_tasks(seed) if task.after is None] or [Task(seconds=1.0)]
    tasks += [Task(seconds=2.0 + n, after=n) for n in range(len(tasks))]
    ordered = longest_first(tasks)
    assert sorted(task.seconds for task in ordered) == sorted(task.seconds for task in tasks)
    pairs = sorted((ordered[task.after].seconds, task.seconds) for task in ordered if task.after is not None)
    assert pairs == sorted((tasks[task.after].seconds, task.seconds) for task in tasks if task.after is not None)
    assert all(task.after < n for n, task in enumerate(ordered) if task.after is not None)


def priced(tmp_path: Path) -> tuple[PlannedCell, ...]:
    """Two trained models and one that is not, two attacks each."""
    experiment = {
        "name": "digits",
        "dataset": {"name": "digits", "scale": 1},
        "architectures": [{"name": "mlp", "hidden": [8]}],
        "defenses": ["natural", "at", "distance"],
        "attacks": ["pgd-10", "mt-20"],
        "metrics": ["accuracy"],
        "threat": {"epsilon": 0.1},
        "recipe": {"learning_rate": 0.001, "epochs": 2},
    }
    registry = load_registry()
    suite = suite_from_table({"name": "tiny", "protocol": "tiny-1", "experiments": [experiment]}, registry)
    plan = make_plan(suite, registry, profile="paper", source=DataSource(root=tmp_path, cache=tmp_path))
    trains = [100.0, 0.0, 200.0, 0.0, 0.0, 0.0]
    prices = [CellPrice(train_seconds=seconds, evaluate_seconds=8.0, origin="timed") for seconds in trains]
    return tuple(dataclasses.replace(cell, price=price) for cell, price in zip(plan.cells, prices, strict=True))


def test_a_model_is_trained_once_and_before_it_is_evaluated(tmp_path: Path) -> None:
    tasks = tasks_of(priced(tmp_path), sharded=False)
    assert [(task.seconds, task.after) for task in tasks] == [
        (100.0, None),
        (8.0, 0),
        (8.0, 0),
        (200.0, None),
        (8.0, 3),
        (8.0, 3),
        (8.0, None),
        (8.0, None),
    ]


def test_shards_and_ranks_divide_the_work(tmp_path: Path) -> None:
    tasks = tasks_of(priced(tmp_path), ranks=4, overhead=0.25)
    trains = [task.seconds for task in tasks if task.seconds > 8.0]
    assert trains == [100.0 / 4 * 1.25, 200.0 / 4 * 1.25]
    evaluations = [task for task in tasks if task.seconds <= 8.0]
    assert len(evaluations) == 6 * 2  # 1,797 digits in shards of 1,024
    assert sum(task.seconds for task in evaluations) == pytest.approx(6 * 8.0 / 4)


def test_shards_are_as_large_as_the_evaluation_makes_them() -> None:
    assert simulation.EXAMPLES_PER_SHARD == EXAMPLES_PER_SHARD
