"""From a cell and its measures to the row that records them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchbench.cell.model import Cell, to_json
from benchbench.contract.columns import FILLABLE
from benchbench.records.arrays import to_array
from benchbench.records.intervals import accuracy_interval, mean_interval
from benchbench.records.older import Columns
from benchbench.records.row import Row

_LIPSCHITZ = "test_lipschitz"
_LIPSCHITZ_OF_EXAMPLES = "lipschitz"
_MEANS_WITHOUT_BOUND_COLUMNS = {
    "squared_error": "test_mse",
    "adv_squared_error": "adv_test_mse",
    "lipschitz_released": "test_lipschitz_released",
}
_MAXIMUM_ERROR_LENGTH = 2000


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How and where a cell was computed.

    Attributes:
        versions: package or program to version.
        train_seconds: time to train the model; None where it was not trained in this run.
        queries: forward passes of the attack, summed over examples.
        gradient_queries: those of them that asked for a gradient.
    """

    precision: str = "float32"
    device: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    train_seconds: float | None = None
    evaluate_seconds: float | None = None
    peak_memory_bytes: int | None = None
    queries: int | None = None
    gradient_queries: int | None = None


def measured_row(
    cell: Cell,
    *,
    values: Mapping[str, float],
    per_example: Mapping[str, object] | None = None,
    flags: Sequence[str] = (),
    diagnostics: int = 0,
    provenance: Provenance,
) -> Row:
    """The row of a finished cell, with 95% intervals.

    Args:
        cell: what was computed.
        values: measures by column name; those that are no column go to ``extra``.
        per_example: per-example columns; ``lipschitz`` there gives the bootstrap interval of its mean; those of mean squared
            errors and of the released Lipschitz search go to ``extra`` (``test_mse_low``, ...).
        flags: diagnostics that cast doubt on the row.
        diagnostics: their revision; 0 where there are none.
        provenance: how and where.

    Raises:
        DataError: a value that is not finite or out of range.
    """
    measures: Columns = {name: value for name, value in values.items() if name in FILLABLE}
    extra = {name: value for name, value in values.items() if name not in FILLABLE}
    extra |= _extra_bounds(per_example or {}, cell.training.seed)
    row = Row(
        **cell.identity(),
        **measures,
        extra=extra,
        flags=tuple(flags),
        diagnostics=diagnostics,
        **_provenance(cell, provenance),
    )
    return dataclasses.replace(row, **_bounds(row, per_example or {}))


def failed_row(cell: Cell, error: str, *, provenance: Provenance, refused: bool = False) -> Row:
    """The row of a cell that raised.

    Args:
        cell: what was to be computed.
        error: what it raised, in one line or a few.
        provenance: how and where.
        refused: whether it broke a contract (an attack that leaves the ball, NaN logits): such a result is nobody's, so the
            record is kept beside the runs and the leaderboard has no row of it.
    """
    status = "refused" if refused else "failed"
    text = error.encode("utf-8", errors="replace").decode()[:_MAXIMUM_ERROR_LENGTH]
    return Row(**cell.identity(), **_provenance(cell, provenance), status=status, error=text or "unknown error")


def _provenance(cell: Cell, provenance: Provenance) -> Columns:
    columns = {item.name: getattr(provenance, item.name) for item in dataclasses.fields(Provenance)}
    return {
        **columns,
        "git_commit": provenance.git_commit or "",
        "versions": to_json(provenance.versions),
        "configuration": to_json(cell),
    }


def _bounds(row: Row, per_example: Mapping[str, object]) -> Columns:
    bounds: Columns = {}
    for name in ("train_accuracy", "test_accuracy", "adv_train_accuracy", "adv_test_accuracy"):
        accuracy = getattr(row, name)
        n = row.n_train_evaluated if "train" in name else row.n_test
        if accuracy is not None and n > 0:
            interval = accuracy_interval(round(accuracy * n), n)
            bounds |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    if row.test_lipschitz is not None and _LIPSCHITZ_OF_EXAMPLES in per_example:
        spread = mean_interval(to_array(_LIPSCHITZ, per_example[_LIPSCHITZ_OF_EXAMPLES]), row.seed)
        if spread is not None:
            bounds |= {f"{_LIPSCHITZ}_low": spread.low, f"{_LIPSCHITZ}_high": spread.high}
    return bounds


def _extra_bounds(per_example: Mapping[str, object], seed: int) -> dict[str, float]:
    bounds: dict[str, float] = {}
    for column, name in _MEANS_WITHOUT_BOUND_COLUMNS.items():
        spread = mean_interval(to_array(column, per_example[column]), seed) if column in per_example else None
        if spread is not None:
            bounds |= {f"{name}_low": spread.low, f"{name}_high": spread.high}
    return bounds
