"""Which diagnostic flags of a model stand given all attacks on it, and what clears them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchbench.cell.filters import parse_options
from benchbench.leaderboard.identity import ATTACKED, grouped, values
from benchbench.leaderboard.matching import is_regression
from benchbench.records import Row

CONCLUSIVE: Mapping[str, Mapping[str, int]] = {"autoattack": {"steps": 100, "targets": 9, "queries": 5000}}
"""Attacks that clear flags, with least option values: only the whole standard ensemble."""

PROTOCOL: Mapping[str, Mapping[str, Any]] = {"pgd-10": {}, "mt-20": {"variant": "equation"}}
"""The paper's attacks, by defining options; where they ran, only their shortfalls count."""

SHORTFALLS = frozenset(
    {
        "margin-ascent-succeeds",
        "random-search-succeeds",
        "transfer-succeeds",
        "neighbour-steps-succeed",
        "lattice-succeeds",
        "quarter-broken",
        "half-broken",
    }
)
"""Flags that one attack was too weak. All others cast doubt on the model under any attack."""


def standing_flags(rows: Sequence[Row], robustness: Sequence[float]) -> tuple[str, ...]:
    """The flags of a model under several attacks that no conclusive attack has cleared, sorted.

    A conclusive attack without flags clears them all if it finds the model at most as robust as every flagged attack does. No
    other attack clears anything, even at a lower accuracy: an attack that is blind to gradients escapes the diagnostics of
    gradients. A weak attack alone casts no doubt on a model: if the protocol's attacks were run, only their shortfalls count.

    Args:
        rows: one for each attack on the model.
        robustness: of each row, on examples that all of them have: robust accuracy, or minus the squared error.
    """
    found = list(zip(rows, robustness))
    flagged = [value for row, value in found if row.flags]
    if flagged and any(value <= min(flagged) for row, value in found if not row.flags and is_conclusive(row)):
        return ()
    return tuple(sorted(_doubts(rows)))


def is_conclusive(row: Row) -> bool:
    """Whether the attack is the unrounded standard ensemble with at least its standard options."""
    least, options = CONCLUSIVE.get(row.attack), parse_options(row.attack_options)
    if least is None or row.rounding:
        return False
    found = ((options.get(name), minimum) for name, minimum in least.items())
    return all(isinstance(value, (int, float)) and value >= minimum for value, minimum in found)


def _is_protocol(row: Row) -> bool:
    wanted, options = PROTOCOL.get(row.attack), parse_options(row.attack_options)
    return wanted is not None and all(options.get(name) == value for name, value in wanted.items())


def share_doubts(rows: Iterable[Row]) -> list[Row]:
    """The rows in order, also with flags of their models' other attacks, for one-attack tables.

    A weak attack, whose own diagnostics find nothing, must not make a model look sound that another attack's row casts doubt
    on. Rows of conclusive attacks keep only their own flags.
    """
    listed = list(rows)
    attacked = (row for row in listed if row.source == "measured" and not is_regression(row))
    models = grouped(attacked, lambda row: values(row, ATTACKED))
    return [_doubted(row, models.get(values(row, ATTACKED), ())) for row in listed]


def _doubted(row: Row, siblings: Sequence[Row]) -> Row:
    if row.source != "measured" or is_conclusive(row) or not any(sibling.flags for sibling in siblings):
        return row
    shared = _doubts([sibling for sibling in siblings if not is_conclusive(sibling)])
    return dataclasses.replace(row, flags=tuple(sorted({*row.flags, *shared})))


def _doubts(rows: Sequence[Row]) -> set[str]:
    counted = [row for row in rows if _is_protocol(row)] or rows
    return {flag for row in rows for flag in row.flags} - SHORTFALLS | {flag for row in counted for flag in row.flags}
