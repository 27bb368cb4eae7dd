"""Predicts how long a run still takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from benchbench.cell.model import Cell

WARM_UP_SECONDS = 3.0  # a weight of the estimates: the first cells of a process also import modules and make kernels


class Clock:
    """Predicts the time left from estimates (seconds by cell id), corrected by measured times.

    The first cell of a model corrects, because it also trains the model. The others correct only as long as no such cell is
    over: an attack that stops early on a weak model would make all that is left seem shorter.
    """

    def __init__(
        self, cells: Sequence[Cell], estimates: Mapping[str, float], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._left = {cell.cell_id: estimates.get(cell.cell_id, 0.0) for cell in cells}
        known = [seconds for seconds in self._left.values() if seconds]
        self._typical = sum(known) / len(known) if known else 0.0  # of cells without an estimate
        self._models = {cell.cell_id: cell.training.model_id for cell in cells}
        self._seen: set[str] = set()  # models with a cell that is over
        self._begun: dict[str, float] = {}
        self._now = now
        self._sums = dict.fromkeys((True, False), (0.0, 0.0))  # expected and taken

    def start(self, cell_id: str) -> None:
        """Note that a worker begins a cell, whose time so far no longer counts as left."""
        self._begun[cell_id] = self._now()

    def finish(self, cell_id: str, seconds: float | None) -> None:
        """Note that a cell is over; `seconds` is None if another process computed it."""
        estimate, first = self._left.pop(cell_id), self._models[cell_id] not in self._seen
        self._seen.add(self._models[cell_id])
        if seconds is not None and estimate:
            expected, taken = self._sums[first]
            self._sums[first] = (expected + estimate, taken + seconds)

    def predicted(self, cell_id: str) -> float:
        """Predicted seconds of a cell; 0 if there is no estimate."""
        return self._left[cell_id] * self._correction

    def seconds_left(self, workers: int = 1) -> float | None:
        """Seconds until all cells are over, shared by some workers; None if there are no estimates."""
        if not any(self._left.values()):
            return None
        now, correction = self._now(), self._correction
        whole = {one: (estimate or self._typical) * correction for one, estimate in self._left.items()}
        left = [max(seconds - (now - self._begun.get(one, now)), 0.0) for one, seconds in whole.items()]
        return max(sum(left) / workers, *left)

    @property
    def _correction(self) -> float:
        expected, taken = next((sums for sums in self._sums.values() if sums[0]), (0.0, 0.0))
        return (taken + WARM_UP_SECONDS) / (expected + WARM_UP_SECONDS)
