"""Records of older schemas: the columns that were added later, as far as they follow from the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchbench.cell import WITHOUT_THREAT


def completed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with the columns of schema 3; before it, models were attacked under the threat that they were trained with."""
    if "train_norm" in record:
        return dict(record)
    return {**record, **trained_under(record["defense"], record["norm"], record["epsilon"])}


def trained_under(defense: str, norm: str, epsilon: float) -> dict[str, Any]:
    """The columns of the training threat, where the attack's threat is the same: empty for methods that do not use it."""
    if defense in WITHOUT_THREAT:
        return {"train_norm": "", "train_epsilon": None}
    return {"train_norm": norm, "train_epsilon": epsilon}
