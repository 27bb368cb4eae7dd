"""The 95% interval of each measure of a row, and rows that differ in nothing but the seed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from benchbench.leaderboard.identity import RUNS, training, values
from benchbench.leaderboard.matching import is_regression
from benchbench.records import Row

_DIFFERENCES = {  # of two independent shares: the gap's interval follows from theirs
    "gap": ("train_accuracy", "test_accuracy"),
    "adv_gap": ("adv_train_accuracy", "adv_test_accuracy"),
}


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """A 95% interval; both None where there is none."""

    low: float | None = None
    high: float | None = None


def bounds(row: Row, key: str) -> Bounds:
    """The 95% interval of a measure.

    Accuracies: Wilson's. Gaps of accuracies: Newcombe's (1998, method 10), from the two Wilson intervals. Lipschitzness and
    mean squared errors: bootstrap over the test examples; a regression's other measures have none.

    Args:
        row: a measured row.
        key: column of the measure.
    """
    if key in _DIFFERENCES and not is_regression(row):
        return _difference(row, *_DIFFERENCES[key])
    low, high = (getattr(row, f"{key}_{end}", row.extra.get(f"{key}_{end}")) for end in ("low", "high"))
    return Bounds(low=low, high=high)


def _difference(row: Row, minuend: str, subtrahend: str) -> Bounds:
    names = [f"{share}{end}" for share in (minuend, subtrahend) for end in ("", "_low", "_high")]
    values = [getattr(row, name) for name in names]
    if any(value is None for value in values):
        return Bounds()
    first, first_low, first_high, second, second_low, second_high = values
    below = math.hypot(first - first_low, second_high - second)
    above = math.hypot(first_high - first, second - second_low)
    return Bounds(low=first - second - below, high=first - second + above)


def by_seed(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows that differ in nothing but the seed, together."""
    runs: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        runs.setdefault((*values(row, RUNS), training(row)), []).append(row)
    return list(runs.values())
