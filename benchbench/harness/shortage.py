"""Puts off cells that run out of memory while other processes use the same device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from benchbench.cell.model import Cell
from benchbench.errors import OutOfMemoryError
from benchbench.records.claims import Claims

ALONE = "out-of-memory"  # the claim of the process that retries a cell while no other one computes


class Shortage:
    """The cells that this process has put off; none without claims of other processes."""

    def __init__(self, claims: Claims | None) -> None:
        self._claims = claims
        self._cells: set[str] = set()

    def others(self, pending: Iterable[Cell]) -> list[Cell]:
        """The cells that are not put off."""
        return [cell for cell in pending if cell.cell_id not in self._cells]

    def put_off(self, cell: Cell, error: BaseException, pending: Sequence[Cell]) -> bool:
        """Put a cell off if it ran out of memory; return whether to retry it.

        A cell that was put off before is not retried if no other process computes: then the memory does not suffice.
        """
        if self._claims is None or not isinstance(error, (OutOfMemoryError, torch.OutOfMemoryError)):
            return False
        if cell.cell_id in self._cells:
            others = [other for other in pending if other.training.model_id != cell.training.model_id]
            names = (name for other in others for name in (other.cell_id, other.training.model_id))
            if not any(map(self._claims.owner, names)):
                return False
        self._cells.add(cell.cell_id)
        return True


def free_memory() -> None:
    """Return the GPU memory that torch caches, which other processes may need."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
