"""What the cells of a plan cost, and what they cost together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from benchbench.plan.model import PlannedCell

Origin = Literal["timed", "given", "measured"]


@dataclass(frozen=True, kw_only=True)
class CellPrice:
    """The price of one cell on one device.

    Attributes:
        train_seconds: of training its model, for the first cell of a model; 0 for the others.
        evaluate_seconds: of its evaluation.
        memory_bytes: what training or evaluating it needs at least, dataset included; None where that was not weighed.
        checkpoint_bytes: of its model's checkpoint, for the first cell of a model; 0 for the others.
        record_bytes: of outcomes and adversarial images, before compression.
        origin: ``"timed"`` by passes on this device, ``"given"`` by a file of passes timed elsewhere, ``"measured"`` when the
            cell was computed.
    """

    train_seconds: float
    evaluate_seconds: float
    memory_bytes: int | None = None
    checkpoint_bytes: int = 0
    record_bytes: int = 0
    origin: Origin

    @property
    def seconds(self) -> float:
        """Of both."""
        return self.train_seconds + self.evaluate_seconds


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What some cells cost together, on one device after the other.

    Attributes:
        cells: how many there are.
        models: how many of them pay for the training of a model.
        unpriced: how many have no price: regressions, which are solved, and what could not be tried.
        seconds: of all that have one.
        longest_seconds: of the dearest single cell.
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
    """Add up the prices of the cells that a suite has in a profile; those that it leaves out count for nothing."""
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
    """The bill of each experiment that has cells, in the plan's order."""
    by_experiment: dict[str, list[PlannedCell]] = {}
    for planned in cells:
        if planned.known is not None:
            by_experiment.setdefault(planned.experiment, []).append(planned)
    return {experiment: bill(members) for experiment, members in by_experiment.items()}
