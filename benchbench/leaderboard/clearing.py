"""Which diagnostic flags of a model stand given all attacks on it, and what clears them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from benchbench.cell.filters import parse_options
from benchbench.kernels.arithmetic import ROUNDED
from benchbench.leaderboard.identity import ATTACKED, grouped
from benchbench.leaderboard.matching import regressions
from benchbench.records import Row, Rows

CONCLUSIVE: Mapping[str, Mapping[str, int]] = {"autoattack": {"steps": 100, "targets": 9, "queries": 5000}}
"""Attacks that clear flags, with least option values: only the whole standard ensemble."""

PROTOCOL: Mapping[str, Mapping[str, object]] = {"pgd-10": {}, "mt-20": {"variant": "equation"}}
"""The paper's attacks, by defining options; where they ran, only their shortfalls count."""

SHORTFALLS = frozenset(
    {"margin-ascent-succeeds", "random-search-succeeds", "transfer-succeeds", "neighbour-steps-succeed"}
    | {"lattice-succeeds", "quarter-broken", "half-broken"}
)
"""Flags that one attack was too weak. All others cast doubt on the model under any attack."""


def standing_flags(rows: Sequence[Row], robustness: Sequence[float]) -> tuple[str, ...]:
    """The flags of a model under several attacks that no conclusive attack has cleared, sorted.

    A conclusive attack without flags clears them all if it finds the model at most as robust as every flagged attack does. No
    other attack clears anything, even at a lower accuracy: an attack that is blind to gradients escapes the diagnostics of
    gradients. A weak attack alone casts no doubt on a model: if the protocol's attacks were run, only their shortfalls count.
    Each row is of one attack; its robustness, robust accuracy or minus the squared error, is on examples that all rows have.
    """
    found = list(zip(rows, robustness))
    flagged = [value for row, value in found if row.flags]
    if flagged and any(
        value <= min(flagged)
        for row, value in found
        if not row.flags and is_conclusive(row.attack, row.attack_options, row.precision)
    ):
        return ()
    return tuple(sorted(_doubts([(row.flags, _is_protocol(row.attack, row.attack_options)) for row in rows])))


def is_conclusive(attack: str, options: str, precision: str) -> bool:
    """Whether an attack is the unrounded standard ensemble with at least its standard options."""
    least, stated = CONCLUSIVE.get(attack), parse_options(options)
    if least is None or precision in ROUNDED:
        return False
    found = ((stated.get(name), minimum) for name, minimum in least.items())
    return all(isinstance(value, (int, float)) and value >= minimum for value, minimum in found)


def _is_protocol(attack: str, options: str) -> bool:
    wanted, stated = PROTOCOL.get(attack), parse_options(options)
    return wanted is not None and all(stated.get(name) == value for name, value in wanted.items())


def share_doubts(rows: Iterable[Row]) -> Rows:
    """The rows in order, also with flags of their models' other attacks, for one-attack tables.

    A weak attack, whose own diagnostics find nothing, must not make a model look sound that another attack's row casts doubt
    on. Rows of conclusive attacks keep only their own flags.
    """
    listed = Rows.of(rows)
    measured, models = listed.having("source", "measured"), listed.codes(*ATTACKED)
    attacked = measured & ~regressions(listed)
    unsettled = ~listed.each(is_conclusive, "attack", "attack_options", "precision")
    doubted = measured & unsettled & np.isin(models, models[attacked & listed.flagged])
    if not doubted.any():
        return listed
    flags, protocol = listed.values("flags"), listed.each(_is_protocol, "attack", "attack_options")
    found = grouped(np.flatnonzero(doubted & attacked).tolist(), models.__getitem__)
    shared = {model: _doubts([(flags[i], protocol[i]) for i in places]) for model, places in found.items()}
    for place in np.flatnonzero(doubted).tolist():
        flags[place] = sorted({*flags[place], *shared.get(models[place], ())})
    return listed.replaced("flags", flags)


def _doubts(attacks: Sequence[tuple[Sequence[str], bool]]) -> set[str]:
    """The flags that count, given those of each attack and whether it is the protocol's."""
    counted = [flags for flags, is_protocol in attacks if is_protocol] or [flags for flags, _ in attacks]
    return {flag for flags, _ in attacks for flag in flags} - SHORTFALLS | {flag for flags in counted for flag in flags}
