"""Records of older schemas: the newer columns whose values follow from the older ones."""

from __future__ import annotations

from typing import Any

from benchbench.cell.model import WITHOUT_THREAT

Columns = dict[str, Any]  # of a row, by name: `Row` checks them

NO_DIAGNOSTICS = 0  # the revision of diagnostics in rows of regressions


def completed(record: Columns) -> Columns:
    """A record with the columns of schema 3.

    Before schema 3, a model was attacked under the threat that it was trained with. Classifiers had the first diagnostics,
    regressions none.
    """
    if "train_norm" in record:
        return dict(record)
    diagnostics = NO_DIAGNOSTICS if record.get("test_mse") is not None else 1
    trained = trained_under(record["defense"], record["norm"], record["epsilon"])
    return {**record, **trained, "diagnostics": diagnostics}


def trained_under(defense: str, norm: str, epsilon: float) -> Columns:
    """The training threat's columns if it equals the attack's; empty for methods without one."""
    if defense in WITHOUT_THREAT:
        return {"train_norm": "", "train_epsilon": None}
    return {"train_norm": norm, "train_epsilon": epsilon}
