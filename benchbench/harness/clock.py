"""Predicts how long a run still takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchbench.cell.model import Cell


class Clock:
    """Predicts the time left from estimates (seconds by cell id), corrected by measured times."""

    def __init__(self, cells: Sequence[Cell], estimates: Mapping[str, float]) -> None:
        self._left = {cell.cell_id: estimates.get(cell.cell_id, 0.0) for cell in cells}
        self._expected = 0.0
        self._taken = 0.0

    def finish(self, cell_id: str, seconds: float | None) -> None:
        """Note that a cell is over; `seconds` is None if another process computed it."""
        expected = self._left.pop(cell_id)
        if seconds is not None:
            self._expected += expected
            self._taken += seconds

    def predicted(self, cell_id: str) -> float:
        """Predicted seconds of a cell; 0 if there is no estimate."""
        return self._left[cell_id] * (self._taken / self._expected if self._expected else 1.0)

    def seconds_left(self) -> float | None:
        """Seconds until all cells are over; None if there are no estimates."""
        left = sum(self.predicted(cell_id) for cell_id in self._left)
        return left if any(self._left.values()) else None
