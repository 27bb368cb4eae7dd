"""What a cell of a plan costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
