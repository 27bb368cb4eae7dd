"""Cells that run out of memory while other processes compute on the same device: they are put off until those are over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from benchbench.cell.model import Cell
from benchbench.errors import OutOfMemoryError
from benchbench.records.claims import Claims

ALONE = "out-of-memory"  # the claim of the process that tries a cell again while no other one does


class Shortage:
    """The cells that this process has put off.

    Args:
        claims: of this process; None where there are no others, so that nothing is put off.
    """

    def __init__(self, claims: Claims | None) -> None:
        self._claims = claims
        self._cells: set[str] = set()

    def others(self, pending: Iterable[Cell]) -> list[Cell]:
        """The cells that are not put off."""
        return [cell for cell in pending if cell.cell_id not in self._cells]

    def put_off(self, cell: Cell, error: Exception, pending: Sequence[Cell]) -> bool:
        """Put a cell off if it ran out of memory; returns whether it is to be tried again.

        It is not where it was put off before and no other process computes: then the memory does not suffice.
        """
        if self._claims is None or not isinstance(error, (OutOfMemoryError, torch.OutOfMemoryError)):
            return False
        if cell.cell_id in self._cells and not self._others_compute(cell, pending, self._claims):
            return False
        self._cells.add(cell.cell_id)
        return True

    @staticmethod
    def _others_compute(cell: Cell, pending: Sequence[Cell], claims: Claims) -> bool:
        others = (other for other in pending if other.training.model_id != cell.training.model_id)
        return any(claims.owner(other.cell_id) or claims.owner(other.training.model_id) for other in others)


def free_memory() -> None:
    """Give back what torch keeps of a GPU for later: others may be short of it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
