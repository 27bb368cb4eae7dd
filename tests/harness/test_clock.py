"""The time left: estimates, corrected by how they have held so far."""

from __future__ import annotations

from sample_rows import make_cell

from benchbench.harness.clock import Clock

CELLS = [make_cell(seed=seed) for seed in range(3)]
FIRST, SECOND, THIRD = (cell.cell_id for cell in CELLS)


def test_estimates_count_as_they_are_before_any_cell_is_over() -> None:
    clock = Clock(CELLS, {FIRST: 10.0, SECOND: 20.0, THIRD: 30.0})
    assert [clock.predicted(cell_id) for cell_id in (FIRST, SECOND, THIRD)] == [10.0, 20.0, 30.0]
    assert clock.seconds_left() == 60.0


def test_cells_that_took_twice_their_estimate_double_what_is_left() -> None:
    clock = Clock(CELLS, {FIRST: 10.0, SECOND: 20.0, THIRD: 30.0})
    clock.finish(FIRST, 20.0)
    assert clock.predicted(SECOND) == 40.0
    assert clock.seconds_left() == 100.0
    clock.finish(SECOND, 10.0)  # 30 s were taken where 30 s were expected
    assert clock.predicted(THIRD) == 30.0


def test_cells_that_other_processes_computed_correct_nothing() -> None:
    clock = Clock(CELLS, {FIRST: 10.0, SECOND: 20.0})
    clock.finish(FIRST, None)
    assert clock.predicted(SECOND) == 20.0
    assert clock.seconds_left() == 20.0


def test_nothing_is_predicted_where_nothing_is_estimated() -> None:
    clock = Clock(CELLS, {})
    assert clock.seconds_left() is None
    assert clock.predicted(FIRST) == 0.0
