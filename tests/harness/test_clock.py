"""The time left: estimates, corrected by how they have held so far."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sample_rows import make_cell

from benchbench.cell.model import Cell
from benchbench.harness.clock import Clock

CELLS = [make_cell(seed=seed) for seed in range(3)]
FIRST, SECOND, THIRD = (cell.cell_id for cell in CELLS)


def test_estimates_count_as_they_are_before_any_cell_is_over() -> None:
    clock = Clock(CELLS, {FIRST: 10.0, SECOND: 20.0, THIRD: 30.0})
    assert [clock.predicted(cell_id) for cell_id in (FIRST, SECOND, THIRD)] == [10.0, 20.0, 30.0]
    assert clock.seconds_left() == 60.0


def test_cells_that_took_twice_their_estimate_double_what_is_left() -> None:
    clock = Clock(CELLS, {FIRST: 1000.0, SECOND: 2000.0, THIRD: 3000.0})
    clock.finish(FIRST, 2000.0)
    assert clock.predicted(SECOND) == pytest.approx(4000.0, rel=0.01)
    assert clock.seconds_left() == pytest.approx(10000.0, rel=0.01)
    clock.finish(SECOND, 1000.0)  # 3000 s were taken where 3000 s were expected
    assert clock.predicted(THIRD) == 3000.0


def test_short_first_cell_corrects_little_because_it_also_warms_up() -> None:
    clock = Clock(CELLS, {FIRST: 0.1, SECOND: 50.0, THIRD: 50.0})
    clock.finish(FIRST, 1.1)
    assert clock.seconds_left() == pytest.approx(100.0, rel=0.5)


def test_cell_without_an_estimate_counts_like_the_others_and_corrects_nothing() -> None:
    clock = Clock(CELLS, {FIRST: 10.0, SECOND: 20.0})
    assert clock.seconds_left() == 45.0
    clock.finish(THIRD, 1000.0)
    assert clock.seconds_left() == 30.0


def test_cells_that_other_processes_computed_correct_nothing() -> None:
    clock = Clock(CELLS[:2], {FIRST: 10.0, SECOND: 20.0})
    clock.finish(FIRST, None)
    assert clock.predicted(SECOND) == 20.0
    assert clock.seconds_left() == 20.0


def test_nothing_is_predicted_where_nothing_is_estimated() -> None:
    clock = Clock(CELLS, {})
    assert clock.seconds_left() is None
    assert clock.predicted(FIRST) == 0.0


def test_evaluations_correct_only_until_a_model_was_trained() -> None:
    first, again, other = (make_cell(seed=0), attacked_again(make_cell(seed=0)), make_cell(seed=1))
    clock = Clock([first, again, other], {first.cell_id: 10.0, again.cell_id: 10.0, other.cell_id: 10.0})
    clock.finish(first.cell_id, 20.0)
    before = clock.predicted(other.cell_id)
    clock.finish(again.cell_id, 1.0)  # the attack stopped early
    assert clock.predicted(other.cell_id) == before > 15.0


def test_time_that_running_cells_have_taken_is_not_left() -> None:
    time = [0.0]
    clock = Clock(CELLS, {FIRST: 100.0, SECOND: 100.0, THIRD: 100.0}, now=lambda: time[0])
    clock.start(FIRST)
    clock.start(SECOND)
    time[0] = 99.0
    clock.finish(FIRST, 99.0)
    clock.start(THIRD)
    assert clock.seconds_left(2) == pytest.approx(99.0, rel=0.01)  # of the third; the second is all but over
    time[0] = 500.0
    assert clock.seconds_left(2) == 0.0


def test_last_cell_is_not_shared_by_the_workers() -> None:
    clock = Clock(CELLS, {FIRST: 100.0, SECOND: 10.0, THIRD: 10.0})
    assert clock.seconds_left(2) == 100.0
    assert clock.seconds_left() == 120.0


def attacked_again(cell: Cell, number: int = 1) -> Cell:
    """The same model under another evaluation."""
    return dataclasses.replace(cell, evaluation=dataclasses.replace(cell.evaluation, n_test=200 + number))


@dataclass(frozen=True)
class Timed:
    """A model: predicted and measured seconds of its training, and of each evaluation."""

    train: tuple[float, float]
    evaluations: tuple[tuple[float, float], ...]


# The digits of the quick profile: PGD-10, and two multi-targeted attacks that stop early. Seconds of one core; the first cell
# also imports modules.
DIGITS = [
    Timed((price, 0.0), ((1.3, whole), (2.7, first), (2.7, second)))
    for price, whole, first, second in (
        (1.2, 3.7, 1.3, 2.1),
        (1.8, 3.1, 1.9, 2.1),
        (2.6, 5.7, 1.8, 2.5),
        (4.0, 6.0, 2.3, 2.9),
        (4.4, 5.8, 1.7, 2.2),
        (4.4, 5.5, 1.8, 2.2),
        (4.4, 6.0, 1.7, 2.0),
        (4.5, 4.8, 1.6, 1.9),
        (4.5, 5.6, 1.6, 1.9),
        (4.5, 5.8, 1.6, 1.9),
    )
]
# MNIST of the quick profile, as in the committed leaderboard; three models are attacked by the multi-targeted attacks, too.
MNIST = [
    Timed((9.9, 15.1), ((39.1, 57.9), (48.9, 52.6), (48.9, 52.3))),
    Timed((25.3, 37.2), ((39.1, 62.9),)),
    Timed((31.4, 63.8), ((39.1, 67.5),)),
    Timed((70.4, 141.9), ((39.1, 70.3), (48.9, 58.3), (48.9, 57.0))),
    Timed((79.9, 168.3), ((39.1, 68.1),)),
    Timed((83.3, 156.5), ((39.1, 51.7),)),
    Timed((83.3, 124.5), ((39.1, 47.4), (48.9, 73.9), (48.9, 71.2))),
]


def schedule(models: list[Timed], workers: int, load: float) -> Iterator[tuple[float, float, Cell, float]]:
    """Begin, end and price of each cell, where each worker takes model after model."""
    free = [0.0] * workers
    for seed, model in enumerate(models):
        worker = free.index(min(free))
        for number, (price, took) in enumerate(model.evaluations):
            train = (0.0, 0.0) if number else model.train
            begin, free[worker] = free[worker], free[worker] + load * (took + train[1])
            yield begin, free[worker], attacked_again(make_cell(seed=seed), number), price + train[0]


def predictions(models: list[Timed], workers: int, load: float) -> list[float]:
    """The predicted over the true time left, whenever a cell begins after the first one is over."""
    cells = [*schedule(models, workers, load)]
    end, time = max(end for _, end, _, _ in cells), [0.0]
    clock = Clock([cell for *_, cell, _ in cells], {cell.cell_id: price for *_, cell, price in cells}, lambda: time[0])
    steps = [(begin, True, cell.cell_id, 0.0) for begin, _, cell, _ in cells]
    steps += [(over, False, cell.cell_id, over - begin) for begin, over, cell, _ in cells]
    ratios = []
    for time[0], begins, cell_id, took in sorted(steps):
        if not begins:
            clock.finish(cell_id, took)
            continue
        clock.start(cell_id)
        left = clock.seconds_left(workers)
        if time[0] > 0 and left is not None:
            ratios.append(left / (end - time[0]))
    return ratios


@pytest.mark.parametrize("load", [1.0, 2.5])  # of other work on the machine, which the prices do not know
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("models", [DIGITS, MNIST])
def test_time_left_is_right_within_a_factor_of_one_and_a_half(models: list[Timed], workers: int, load: float) -> None:
    found = predictions(models, workers, load)
    begun = found[: 3 * len(found) // 4]  # near the end the workers are not all busy, and little is left
    assert min(begun) > 1 / 1.5
    assert max(begun) < 1.5
