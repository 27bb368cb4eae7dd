"""Which rows may be compared, and which published numbers belong beside them."""

from __future__ import annotations

from collections.abc import Sequence

from benchbench.leaderboard.identity import SETTING, THREAT, grouped, values
from benchbench.leaderboard.names import contains, defense_label
from benchbench.records import Row, Rows
from benchbench.records.arrays import Array

_REGRESSION_DATASETS = frozenset({"staircase"})
_MATCHED = ("dataset", "architecture", "augmentation", "dropout", *THREAT, "attack", "trained_on")
_SHOWN_FIRST = ("profile", *_MATCHED)  # the order of columns for programs
_UNSHOWN = ("suite", "dataset_digest")
_MEASURES = ("train_accuracy", "test_accuracy", "adv_test_accuracy", "test_lipschitz", "gap", "adv_gap", "train_mse")


def is_regression(row: Row) -> bool:
    """Whether a row reports squared errors instead of accuracies."""
    return row.dataset in _REGRESSION_DATASETS or row.test_mse is not None


def measure_of(row: Row) -> str:
    """The measure that ranks a row's model."""
    return "adv_test_mse" if is_regression(row) else "adv_test_accuracy"


def regressions(rows: Rows) -> Array:
    """bool (n,): `is_regression` of each row."""
    return rows.having("dataset", *_REGRESSION_DATASETS) | rows.known("test_mse")


def setting(row: Row) -> tuple[tuple[str, str | float | None], ...]:
    """Columns and values that rows must share to be compared."""
    names = dict.fromkeys((*_SHOWN_FIRST, *(name for name in SETTING if name not in _UNSHOWN)))
    return tuple((name, getattr(row, name)) for name in names)


def published_setting(row: Row) -> tuple[tuple[str, str | float | None], ...]:
    """Columns and values that tell published settings apart; sizes only for regression."""
    names = (*_MATCHED, "architecture_options", *(["n_train"] if is_regression(row) else []))
    return tuple((name, getattr(row, name)) for name in names)


SAME_SETTING = (*_MATCHED, *(name for name in SETTING if name != "dataset_digest"), "dataset_digest")
"""Equal for measured rows that may be compared; sorts by dataset, ..., last by its digest.

The digest tells apart datasets of one name with other options, or of another version.
"""


def same_setting(row: Row) -> tuple[object, ...]:
    """The values of `SAME_SETTING`."""
    return values(row, SAME_SETTING)


def is_of_setting(published: Row, row: Row) -> bool:
    """Whether a published number is of a row's setting; what the paper omits matches any value."""
    return (
        all(getattr(published, name) == getattr(row, name) for name in _MATCHED)
        and contains(row.architecture_options, published.architecture_options)
        and (not is_regression(row) or published.n_train == row.n_train)
    )


def shown_published(
    settings: Sequence[Row], published: Sequence[Row], *, every: bool
) -> tuple[list[list[Row]], list[list[Row]]]:
    """Published rows of settings, given by a row; with `every` also groups of the others."""
    beside = [_without_repeats([one for one in published if is_of_setting(one, row)]) for row in settings]
    rest = [one for one in published if every and not any(is_of_setting(one, row) for row in settings)]
    return beside, [_without_repeats(group) for group in grouped(rest, same_setting).values()]


def _without_repeats(published: list[Row]) -> list[Row]:
    """One row per method: repeated numbers of a paper come from its most complete table."""
    kept: dict[str, Row] = {}
    for row in sorted(published, key=lambda row: (values(row, _MEASURES).count(None), int(row.published_table))):
        kept.setdefault(defense_label(row), row)
    return list(kept.values())
