"""A plan: the cells of a suite, each ready, done, skipped or failed, with reason and price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from benchbench.cell.model import Cell
from benchbench.planning.datasets import DatasetLoader

Status = Literal["ready", "done", "skipped", "failed"]
Origin = Literal["timed", "given", "measured"]


@dataclass(frozen=True, kw_only=True)
class CellPrice:
    """The price of one cell on one device.

    Attributes:
        train_seconds: to train its model; like `checkpoint_bytes` 0 except for the first cell of a model.
        memory_bytes: the least memory that training or evaluation needs, dataset included; None if unknown.
        record_bytes: of outcomes and adversarial images, before compression.
        origin: ``"timed"`` by passes on this device, ``"given"`` by a file of passes timed elsewhere, or ``"measured"`` while
            the cell was computed.
    """

    train_seconds: float
    evaluate_seconds: float
    memory_bytes: int | None = None
    checkpoint_bytes: int = 0
    record_bytes: int = 0
    origin: Origin

    @property
    def seconds(self) -> float:
        """The seconds of training and evaluation."""
        return self.train_seconds + self.evaluate_seconds


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """One combination of the grid.

    Attributes:
        cell: the cell; None if its data, and with it its id, is unknown.
        identity: the known identity columns of the leaderboard.
        status: ``"ready"`` to compute, ``"done"`` already, ``"skipped"`` because it cannot or need not run, ``"failed"``
            because something is broken, for instance a data file.
        reason: why it is skipped or failed; empty otherwise.
        estimate_seconds: predicted duration; None if unknown.
        sketch: the cell without its data and digest; None if `cell` is known, the suite leaves the combination out, or the size
            of the data is unknown.
        price: its price, also if it is not computed here; None if unknown.
    """

    cell: Cell | None
    experiment: str
    identity: Mapping[str, Any]
    status: Status
    reason: str = ""
    estimate_seconds: float | None = None
    sketch: Cell | None = None
    price: CellPrice | None = None

    @property
    def known(self) -> Cell | None:
        """The cell, else its sketch."""
        return self.cell or self.sketch


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The cells of a run.

    Attributes:
        cells: in the order of computation: cells of one model adjacent, the attack varying fastest.
        datasets: the data that was loaded to make the plan, so that it is not loaded twice.
        priced_for: the device of the cells' prices; empty if there are none.
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
