"""Which flags of a model stand once all attacks on it are looked at together, and what clears them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from benchbench.leaderboard.identity import ATTACKED, values
from benchbench.leaderboard.matching import is_regression
from benchbench.leaderboard.names import parse_options
from benchbench.records import Row

CONCLUSIVE: Mapping[str, Mapping[str, int]] = {"autoattack": {"steps": 100, "targets": 9, "queries": 5000}}
"""Attacks that clear flags, with the least of their options: the standard ensemble as a whole, and no part of it."""

PROTOCOL: Mapping[str, Mapping[str, object]] = {"pgd-10": {}, "mt-20": {"variant": "equation"}}
"""The paper's attacks, with the options that make them so: their shortfalls count, those of others beside them do not."""

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
"""Flags that say that one attack was too weak. All others cast doubt on the model, whatever the attack."""


def standing_flags(rows: Sequence[Row], robustness: Sequence[float]) -> tuple[str, ...]:
    """The flags of a model under several attacks that nothing has cleared, sorted.

    A conclusive attack without flags clears them all if it finds the model at most as robust as every flagged attack does. No
    other attack clears anything, however low the accuracy that it finds: an attack that is blind to gradients escapes the
    diagnostics of gradients. Nor does an attack that is merely weak cast doubt on a model: where the protocol's attacks were
    run, only their shortfalls count.

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
    """Whether what a row reports may be relied on: its attack is the standard ensemble, with no less than its standard options.

    A row with a sound bound from below would belong here, too: whatever becomes conclusive clears flags everywhere.
    """
    least, options = CONCLUSIVE.get(row.attack), parse_options(row.attack_options)
    return least is not None and not row.rounding and all(_at_least(options.get(name), n) for name, n in least.items())


def _at_least(value: object, least: int) -> bool:
    return isinstance(value, (int, float)) and value >= least


def _is_protocol(row: Row) -> bool:
    wanted, options = PROTOCOL.get(row.attack), parse_options(row.attack_options)
    return wanted is not None and all(options.get(name) == value for name, value in wanted.items())


def share_doubts(rows: Iterable[Row]) -> list[Row]:
    """The same rows, in the same order, each with the flags of its model's other attacks, for tables of one attack.

    A weak attack, of which no diagnostics hold, must not make a model look sound that another attack's row casts doubt on. Rows
    of conclusive attacks keep their own flags alone.
    """
    listed = list(rows)
    models: dict[tuple[object, ...], list[Row]] = {}
    for row in listed:
        if row.source == "measured" and not is_regression(row):
            models.setdefault(values(row, ATTACKED), []).append(row)
    return [_doubted(row, models.get(values(row, ATTACKED), ())) for row in listed]


def _doubted(row: Row, siblings: Sequence[Row]) -> Row:
    if row.source != "measured" or is_conclusive(row) or not any(sibling.flags for sibling in siblings):
        return row
    shared = _doubts([sibling for sibling in siblings if not is_conclusive(sibling)])
    return dataclasses.replace(row, flags=tuple(sorted({*row.flags, *shared})))


def _doubts(rows: Sequence[Row]) -> set[str]:
    speaking = [row for row in rows if _is_protocol(row)] or rows
    return {flag for row in rows for flag in row.flags} - SHORTFALLS | {flag for row in speaking for flag in row.flags}
