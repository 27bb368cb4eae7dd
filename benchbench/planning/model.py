"""A plan: the cells of a suite, each ready, done, skipped or failed, and their prices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from benchbench.cell.model import Cell
from benchbench.escaping import as_html
from benchbench.events.wording import format_seconds
from benchbench.planning.datasets import DatasetLoader

Status = Literal["ready", "done", "skipped", "failed"]
Origin = Literal["timed", "given", "measured"]


@dataclass(frozen=True, kw_only=True)
class CellPrice:
    """The price of one cell on one device."""

    train_seconds: float  # to train its model; like `checkpoint_bytes` 0 except for the first cell of a model
    evaluate_seconds: float
    memory_bytes: int | None = None  # the least that training or evaluation needs, dataset included
    checkpoint_bytes: int = 0
    record_bytes: int = 0  # of outcomes and adversarial images, before compression
    # origin: ``"timed"`` on this device, ``"given"`` by a file of passes timed elsewhere, or ``"measured"`` while computed
    origin: Origin

    @property
    def seconds(self) -> float:
        """The seconds of training and evaluation."""
        return self.train_seconds + self.evaluate_seconds


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """One combination of the grid."""

    cell: Cell | None  # the cell; None if its data, and with it its id, is unknown
    experiment: str
    identity: Mapping[str, object]  # the known identity columns of the leaderboard
    # status: ``"ready"``, ``"done"``, ``"skipped"``: cannot or need not run, or ``"failed"``: for instance a broken file
    status: Status
    reason: str = ""  # why it is skipped or failed; empty otherwise
    estimate_seconds: float | None = None  # predicted duration; None if unknown
    # sketch: the cell without its data and digest; None if `cell` is known, left out, or the data's size is unknown
    sketch: Cell | None = None
    price: CellPrice | None = None  # its price, also if it is not computed here; None if unknown

    @property
    def known(self) -> Cell | None:
        """The cell, else its sketch."""
        return self.cell or self.sketch


@dataclass(frozen=True, kw_only=True, repr=False)
class Plan:
    """The cells of a run."""

    suite: str
    profile: str
    cells: tuple[PlannedCell, ...]  # in the order of computation: those of one model adjacent
    datasets: DatasetLoader  # the data that was loaded to make the plan, so that it is not loaded twice
    priced_for: str = ""  # the device of the cells' prices; empty if there are none

    def __repr__(self) -> str:
        counts = Counter(cell.status for cell in self.cells)
        states = ", ".join(f"{counts[status]} {status}" for status in get_args(Status) if counts[status])
        return f"<Plan of {self.suite}, profile {self.profile}: {states or 'no cells'}>"

    def _repr_html_(self) -> str:
        """For notebooks: each experiment's cells by state, and why some are not computed."""
        lines = []
        for experiment in dict.fromkeys(cell.experiment for cell in self.cells):
            cells = [cell for cell in self.cells if cell.experiment == experiment]
            counts = Counter(cell.status for cell in cells)
            seconds = sum(cell.estimate_seconds or 0.0 for cell in cells)
            reasons = "; ".join(dict.fromkeys(cell.reason for cell in cells if cell.reason))
            states = (counts[status] or "" for status in get_args(Status))
            lines.append((experiment, *states, format_seconds(seconds) if seconds else "", reasons))
        return as_html(repr(self)[1:-1], ("experiment", *get_args(Status), "estimate", "why not"), lines)

    @property
    def ready(self) -> tuple[Cell, ...]:
        """The cells to compute."""
        return tuple(planned.cell for planned in self.cells if planned.status == "ready" and planned.cell)

    def with_status(self, status: Status) -> tuple[PlannedCell, ...]:
        """The planned cells of one status."""
        return tuple(planned for planned in self.cells if planned.status == status)


@dataclass(frozen=True, kw_only=True)
class Bill:
    """The total price of cells that are computed one after the other."""

    cells: int
    models: int  # cells whose price includes the training of a model
    unpriced: int  # cells without a price: regressions, which are solved, and cells that could not be tried
    seconds: float  # of all priced cells
    longest_seconds: float  # of the most expensive cell
    memory_bytes: int  # of the cell that needs most
    storage_bytes: int  # of checkpoints, outcomes and adversarial images


def bill(cells: Iterable[PlannedCell]) -> Bill:
    """Add up the prices of cells; those that the suite leaves out do not count."""
    counted = [planned for planned in cells if planned.known is not None]
    prices = [planned.price for planned in counted if planned.price is not None]
    return Bill(
        cells=len(counted),
        models=sum(price.train_seconds > 0 for price in prices),
        unpriced=len(counted) - len(prices),
        seconds=sum(price.seconds for price in prices),
        longest_seconds=max((price.seconds for price in prices), default=0.0),
        memory_bytes=max((price.memory_bytes or 0 for price in prices), default=0),
        storage_bytes=sum(price.checkpoint_bytes + price.record_bytes for price in prices),
    )


def bills(cells: Iterable[PlannedCell]) -> dict[str, Bill]:
    """The bill of each experiment with cells, in the plan's order."""
    by_experiment: dict[str, list[PlannedCell]] = {}
    for planned in cells:
        if planned.known is not None:
            by_experiment.setdefault(planned.experiment, []).append(planned)
    return {experiment: bill(members) for experiment, members in by_experiment.items()}
