"""A plan: the cells of a suite, each ready, done, skipped or failed, with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from benchbench.cell.model import Cell
from benchbench.planning.datasets import DatasetLoader
from benchbench.planning.price import CellPrice

Status = Literal["ready", "done", "skipped", "failed"]


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """One combination of the grid.

    Attributes:
        cell: the cell; None where the data, and with it the cell's id, is not known.
        experiment: the suite's experiment.
        identity: identity columns of the leaderboard, as far as they are known.
        status: ``"ready"`` to compute, ``"done"`` already, ``"skipped"`` because it cannot or need not run, ``"failed"``
            because something is broken that should work, for instance a damaged data file.
        reason: why it is skipped or failed; empty otherwise.
        estimate_seconds: predicted duration; None when unknown.
        sketch: the cell as far as it is known without its data, its digest empty; None where `cell` is there, where the suite
            leaves the combination out, and where nobody knows how large the data are.
        price: what it costs, whether it is computed here or not; None when unknown.
    """

    cell: Cell | None
    experiment: str
    identity: Mapping[str, object]
    status: Status
    reason: str = ""
    estimate_seconds: float | None = None
    sketch: Cell | None = None
    price: CellPrice | None = None

    @property
    def known(self) -> Cell | None:
        """The cell, or what is known of it."""
        return self.cell or self.sketch


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do.

    Attributes:
        suite: name of the suite.
        profile: name of the profile.
        cells: in the order to compute them: cells of one model adjacent, the attack varying fastest.
        datasets: the data that was loaded to make the plan, so that nobody loads it twice.
        priced_for: the device that the prices of the cells are for; empty where there are none.
    """

    suite: str
    profile: str
    cells: tuple[PlannedCell, ...]
    datasets: DatasetLoader
    priced_for: str = ""

    @property
    def ready(self) -> tuple[Cell, ...]:
        """The cells to compute."""
        return tuple(planned.cell for planned in self.cells if planned.status == "ready" and planned.cell)

    def with_status(self, status: Status) -> tuple[PlannedCell, ...]:
        """The planned cells of one status."""
        return tuple(planned for planned in self.cells if planned.status == status)
