"""Which rows may be compared with each other, and which published numbers belong beside them."""

from __future__ import annotations

from collections.abc import Sequence

from benchbench.leaderboard.identity import SETTING, THREAT, values
from benchbench.leaderboard.names import contains, defense_label
from benchbench.records import Row

_REGRESSION_DATASETS = frozenset({"staircase"})
_MATCHED = ("dataset", "architecture", "augmentation", "dropout", *THREAT, "attack", "trained_on")
_SHOWN_FIRST = ("profile", *_MATCHED)  # the order of columns for programs
_UNSHOWN = ("suite", "dataset_digest")
_MEASURES = ("train_accuracy", "test_accuracy", "adv_test_accuracy", "test_lipschitz", "gap", "adv_gap", "train_mse")


def is_regression(row: Row) -> bool:
    """Whether a row reports squared errors instead of accuracies."""
    return row.dataset in _REGRESSION_DATASETS or row.test_mse is not None


def setting(row: Row) -> tuple[tuple[str, str | float], ...]:
    """What rows must have in common to be compared, as (column, value)."""
    names = dict.fromkeys((*_SHOWN_FIRST, *(name for name in SETTING if name not in _UNSHOWN)))
    return tuple((name, getattr(row, name)) for name in names)


def published_setting(row: Row) -> tuple[tuple[str, str | float], ...]:
    """What tells the settings of a published table apart, as (column, value); sizes matter for regression only."""
    names = (*_MATCHED, "architecture_options", *(["n_train"] if is_regression(row) else []))
    return tuple((name, getattr(row, name)) for name in names)


def same_setting(row: Row) -> tuple[object, ...]:
    """Equal for measured rows that may be compared; sorts by data set, architecture, ... and what the data hold last.

    Options of a dataset change what it holds, and so does another version of it, under the same name.
    """
    return values(row, (*_MATCHED, *(name for name in SETTING if name != "dataset_digest"), "dataset_digest"))


def is_of_setting(published: Row, row: Row) -> bool:
    """Whether a published number is of a row's setting, training method and budget aside.

    Options that the paper does not state match any value; sizes of subsets are the profile's business, but for regression
    they tell the small problem from the large one.
    """
    return (
        all(getattr(published, name) == getattr(row, name) for name in _MATCHED)
        and contains(row.architecture_options, published.architecture_options)
        and (not is_regression(row) or published.n_train == row.n_train)
    )


def shown_published(groups: list[list[Row]], published: Sequence[Row], *, every: bool) -> list[list[Row]]:
    """Groups of measured rows, each with the published rows of its setting.

    Args:
        groups: rows of one setting each.
        published: of one paper.
        every: whether published rows of other settings follow in groups of their own.
    """
    joined = [
        group + _without_repeats([reference for reference in published if is_of_setting(reference, group[0])])
        for group in groups
    ]
    placed = {row.cell_id for group in joined for row in group}
    rest: dict[tuple[object, ...], list[Row]] = {}
    for reference in published:
        if every and reference.cell_id not in placed and not any(is_of_setting(reference, g[0]) for g in groups):
            rest.setdefault(same_setting(reference), []).append(reference)
    return joined + [_without_repeats(group) for group in rest.values()]


def _without_repeats(published: list[Row]) -> list[Row]:
    """A number that several tables of a paper print is shown once, from the table that says most."""
    kept: dict[str, Row] = {}
    for row in sorted(published, key=lambda row: (_blanks(row), int(row.published_table))):
        kept.setdefault(defense_label(row), row)
    return list(kept.values())


def _blanks(row: Row) -> int:
    return sum(getattr(row, name) is None for name in _MEASURES)
