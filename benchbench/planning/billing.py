"""Sum the prices of a plan's cells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchbench.planning.model import PlannedCell


@dataclass(frozen=True, kw_only=True)
class Bill:
    """The total price of cells that are computed one after the other.

    Attributes:
        models: cells whose price includes the training of a model.
        unpriced: cells without a price: regressions, which are solved, and cells that could not be tried.
        seconds: of all priced cells.
        longest_seconds: of the most expensive cell.
        memory_bytes: of the cell that needs most.
        storage_bytes: of checkpoints, outcomes and adversarial images.
    """

    cells: int
    models: int
    unpriced: int
    seconds: float
    longest_seconds: float
    memory_bytes: int
    storage_bytes: int


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
