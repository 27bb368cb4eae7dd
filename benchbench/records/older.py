"""Records of older schemas: the columns that were added later, as far as they follow from the others."""

from __future__ import annotations

from typing import Any

from benchbench.cell.model import WITHOUT_THREAT

Columns = dict[str, Any]  # of a row, by name: `Row` checks them

NO_DIAGNOSTICS = 0  # their revision in the rows of regressions


def completed(record: Columns) -> Columns:
    """A record with the columns of schema 3.

    Before it, models were attacked under the threat that they were trained with, and diagnosed by the first diagnostics;
    regressions have none.
    """
    if "train_norm" in record:
        return dict(record)
    diagnostics = NO_DIAGNOSTICS if record.get("test_mse") is not None else 1
    trained = trained_under(record["defense"], record["norm"], record["epsilon"])
    return {**record, **trained, "diagnostics": diagnostics}


def trained_under(defense: str, norm: str, epsilon: float) -> Columns:
    """The columns of the training threat, where the attack's threat is the same: empty for methods that do not use it."""
    if defense in WITHOUT_THREAT:
        return {"train_norm": "", "train_epsilon": None}
    return {"train_norm": norm, "train_epsilon": epsilon}
