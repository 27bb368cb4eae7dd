"""Build the row of a cell from its measures, or from its error."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchbench.cell.model import Cell, Columns, to_json
from benchbench.contract.columns import FILLABLE
from benchbench.records.arrays import to_array
from benchbench.records.intervals import Interval, accuracy_interval, mean_interval
from benchbench.records.row import Row

_ACCURACIES = ("train_accuracy", "test_accuracy", "adv_train_accuracy", "adv_test_accuracy", "certified_test_accuracy")
_MEANS = {  # per-example column -> the mean whose bootstrap interval it gives
    "lipschitz": "test_lipschitz",
    "squared_error": "test_mse",
    "adv_squared_error": "adv_test_mse",
    "lipschitz_released": "test_lipschitz_released",
}
_COLUMNS = frozenset(item.name for item in dataclasses.fields(Row))
_MAXIMUM_ERROR_LENGTH = 2000


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How and where a cell was computed; the fields are columns of `Row`, None if unknown."""

    defense_label: str = ""
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
    notes: Mapping[str, str] | None = None,
    flags: Sequence[str] = (),
    diagnostics: int = 0,
    provenance: Provenance,
) -> Row:
    """The row of a finished cell, with 95% intervals; DataError for an impossible value.

    Measures and bounds that are not columns go to ``extra``; `per_example` columns give the intervals of their means. The flags
    cast doubt on the row, by a revision of the `diagnostics`, 0 for none.
    """
    measures: Columns = {name: value for name, value in values.items() if name in FILLABLE}
    row = Row(
        **cell.identity(),
        **measures,
        extra={name: value for name, value in values.items() if name not in FILLABLE},
        flags=tuple(flags),
        diagnostics=diagnostics,
        notes=to_json(notes or {}),
        **_provenance(cell, provenance),
    )
    bounds = {**accuracy_bounds(row), **mean_bounds(row, per_example or {})}
    columns: Columns = {name: bounds.pop(name) for name in _COLUMNS & bounds.keys()}
    return dataclasses.replace(row, **columns, extra={**row.extra, **bounds})


def failed_row(cell: Cell, error: str, *, provenance: Provenance, refused: bool = False) -> Row:
    """The row of a cell that raised an error.

    A cell is `refused` if it broke a contract (an attack that leaves the ball, NaN logits). Such a result says nothing about
    any model, so its record stays beside the runs and the leaderboard has no row of it.
    """
    status = "refused" if refused else "failed"
    text = error.encode("utf-8", errors="replace").decode()[:_MAXIMUM_ERROR_LENGTH]
    return Row(**cell.identity(), **_provenance(cell, provenance), status=status, error=text or "unknown error")


def _provenance(cell: Cell, provenance: Provenance) -> Columns:
    return {
        **vars(provenance),
        "git_commit": provenance.git_commit or "",
        "versions": to_json(provenance.versions),
        "configuration": to_json(cell),
    }


def accuracy_bounds(row: Row) -> dict[str, float]:
    """The ends of the intervals of a row's accuracies, by name."""
    bounds: dict[str, float] = {}
    for name in _ACCURACIES:
        accuracy, n = getattr(row, name), row.n_train_evaluated if "train" in name else row.n_test
        if accuracy is not None and n > 0:
            bounds |= _named(name, accuracy_interval(round(accuracy * n), n))
    return bounds


def mean_bounds(row: Row, per_example: Mapping[str, object]) -> dict[str, float]:
    """The ends of the intervals of the means of per-example columns, by name."""
    bounds: dict[str, float] = {}
    for column, name in _MEANS.items():
        if column not in per_example or (name == "test_lipschitz" and row.test_lipschitz is None):
            continue
        interval = mean_interval(to_array(column, per_example[column]), row.seed or 0)
        bounds |= {} if interval is None else _named(name, interval)
    return bounds


def _named(name: str, interval: Interval) -> dict[str, float]:
    return {f"{name}_low": interval.low, f"{name}_high": interval.high}
