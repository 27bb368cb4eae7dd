"""Which cells are recorded, under their own labels or those of another suite or profile."""

from __future__ import annotations

import dataclasses
import logging
from functools import cached_property

from benchbench.cell.model import DIAGNOSTICS, Cell, to_json
from benchbench.cell.reading import read_cell
from benchbench.errors import BenchbenchError
from benchbench.records.row import Row
from benchbench.records.rows import Rows
from benchbench.records.schema import NO_DIAGNOSTICS
from benchbench.records.store import RunStore

_ALIKE = ("model_id", "attack", "n_test")
"""Columns that are equal for equal training and evaluation."""
_log = logging.getLogger(__name__)


def flags_are_current(row: Row) -> bool:
    """Whether a row's flags come from today's diagnostics or newer; a regression has none."""
    return row.diagnostics == NO_DIAGNOSTICS or row.diagnostics >= DIAGNOSTICS


def is_finished(store: RunStore, cell_id: str) -> bool:
    """Whether a cell is recorded with the files that its row names, and with today's flags."""
    return _finished(store, cell_id) is not None


class FinishedCells:
    """The finished cells of a store by what was computed; records added later may be missed."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._equal: dict[str, tuple[Cell, Row]] = {}  # by cell id: cells that are finished under other labels only

    def __contains__(self, cell: Cell) -> bool:
        """Whether a cell, or one with equal training and evaluation, is finished with today's flags."""
        if is_finished(self._store, cell.cell_id):
            return True
        other = self._equal_work(cell)
        row = _finished(self._store, other) if other else None
        if row is not None:
            self._equal[cell.cell_id] = (cell, row)
        return row is not None

    def take_over(self) -> None:
        """Record the cells that were found under other labels only under their own labels."""
        for cell, row in self._equal.values():
            own = dataclasses.replace(row, **cell.identity(), configuration=to_json(cell))
            self._store.write_row(own, weights=self._store.weights_of(row.cell_id))

    def _equal_work(self, cell: Cell) -> str | None:
        """The id of a finished cell with equal training and evaluation."""
        if not self._alike:
            return None
        identity = cell.identity()
        for row in self._recorded.take(self._alike.get(tuple(identity[name] for name in _ALIKE), ())):
            try:
                if read_cell(row.configuration).work_id == cell.work_id:
                    return row.cell_id
            except BenchbenchError:
                _log.debug("the configuration of cell %s cannot be read", row.cell_id, exc_info=True)
        return None

    @cached_property
    def _recorded(self) -> Rows:
        """The finished rows; read when a cell has no record."""
        rows = self._store.rows()
        return rows.where(rows.having("status", "ok"))

    @cached_property
    def _alike(self) -> dict[tuple[object, ...], list[int]]:
        """Their places by `_ALIKE`."""
        found: dict[tuple[object, ...], list[int]] = {}
        for place, key in enumerate(zip(*map(self._recorded.values, _ALIKE))):
            found.setdefault(key, []).append(place)
        return found


def _finished(store: RunStore, cell_id: str) -> Row | None:
    row = store.finished_row(cell_id)
    return row if row is not None and flags_are_current(row) else None
