"""How long a run will still take."""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchbench.cell import Cell


class Clock:
    """Predicts the time left from the estimates, corrected by how they have held so far.

    Args:
        cells: in the order of computation.
        estimates: predicted seconds by cell id.
    """

    def __init__(self, cells: tuple[Cell, ...], estimates: Mapping[str, float]) -> None:
        self._seconds = [estimates.get(cell.cell_id, 0.0) for cell in cells]
        self._started = time.monotonic()

    def seconds_left(self, done: int) -> float | None:
        """Seconds until the end when the first `done` cells are over; None where nothing is predicted."""
        expected, left = sum(self._seconds[:done]), sum(self._seconds[done:])
        if not left:
            return None
        return left * ((time.monotonic() - self._started) / expected if expected else 1.0)
