"""The 95% interval of each measure of a row."""

from __future__ import annotations

import math

from benchbench.leaderboard.matching import is_regression
from benchbench.records import Interval, Row

_DIFFERENCES = {  # of two independent shares: the gap's interval follows from theirs
    "gap": ("train_accuracy", "test_accuracy"),
    "adv_gap": ("adv_train_accuracy", "adv_test_accuracy"),
}


def interval_of(row: Row, key: str) -> Interval | None:
    """The 95% interval of a measure (a column) of a measured row; None where there is none.

    Accuracies: Wilson's. Gaps of accuracies: Newcombe's (1998, method 10), from the two Wilson intervals. Lipschitzness and
    mean squared errors: bootstrap over the test examples; a regression's other measures have none.
    """
    if key in _DIFFERENCES and not is_regression(row):
        return _difference(row, *_DIFFERENCES[key])
    low, high = (getattr(row, f"{key}_{end}", row.extra.get(f"{key}_{end}")) for end in ("low", "high"))
    return None if low is None or high is None else Interval(low=low, high=high)


def _difference(row: Row, minuend: str, subtrahend: str) -> Interval | None:
    names = [f"{share}{end}" for share in (minuend, subtrahend) for end in ("", "_low", "_high")]
    values = [getattr(row, name) for name in names]
    if any(value is None for value in values):
        return None
    first, first_low, first_high, second, second_low, second_high = values
    below = math.hypot(first - first_low, second_high - second)
    above = math.hypot(first_high - first, second - second_low)
    return Interval(low=first - second - below, high=first - second + above)
