"""Ranks and spreads over seeds, as the page of a suite shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchbench.leaderboard.choosing import by_method
from benchbench.leaderboard.contenders import Contender
from benchbench.leaderboard.names import dataset_label, defense_label
from benchbench.leaderboard.pairing import Spread, seed_spread
from benchbench.leaderboard.ranking import Place, rank_all
from benchbench.report.contents import Board

_UNITS = {"adv_test_accuracy": ("Robust accuracy (%)", 100.0, 2), "adv_test_mse": ("Adversarial test MSE", 1.0, 4)}


@dataclass(frozen=True, kw_only=True)
class Rank:
    """A line of a ranking; numbers are text in the unit of the heading.

    Attributes:
        rank: with ``=`` where it is shared.
        href: the page of the model's first row.
        single: values under each attack alone, in the order of the ranking's attacks.
        flags: diagnostics that stand.
    """

    rank: str
    label: str
    href: str
    value: str
    interval: str
    single: tuple[str, ...]
    flags: str


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Models that may be ranked together.

    Attributes:
        name: data and attacks, for those who hear the page.
        caption: what the models have in common.
        value: heading of the values, with their unit.
        attacks: headings of the single attacks; empty where there is but one.
    """

    name: str
    caption: str
    value: str
    attacks: tuple[str, ...]
    lines: tuple[Rank, ...]


def rankings(board: Board) -> list[Ranking]:
    """The rankings of a leaderboard, one for each set of models that may be compared."""
    return [_ranking(places) for places in rank_all(board.contenders)]


def spreads(board: Board) -> list[tuple[str, str, Spread]]:
    """Method, profile, and mean and spread of the robust accuracy of methods with several seeds."""
    measure = "adv_test_accuracy"
    return [
        (found[0].label.rpartition(",")[0], found[0].row.profile, seed_spread([c.worst[measure].mean() for c in found]))
        for found in by_method(board.contenders).values()
        if len(found) > 1 and all(measure in contender.worst for contender in found)
    ]


def _ranking(places: Sequence[Place]) -> Ranking:
    first = places[0].contender
    attacks, row = tuple(first.single), first.row
    networks = {place.contender.network for place in places}
    alike = len(networks) == 1 and len({place.contender.row.seed for place in places}) == 1
    shared = [
        dataset_label(row),
        *([f"{first.network}, seed {row.seed}"] if alike else []),
        f"{row.norm} epsilon {row.epsilon:g}",
        f"{row.profile} profile",
        f"{len(first.index):,} test examples; worst of {' and '.join(attacks)}",
        *([f"searched in {row.rounding}"] if row.rounding else []),
    ]
    return Ranking(
        name=f"{dataset_label(row)}, {row.profile} profile, {' and '.join(attacks)}",
        caption=", ".join(shared),
        value=_UNITS[first.measure][0],
        attacks=attacks if len(attacks) > 1 else (),
        lines=tuple(_line(place, alike=alike) for place in places),
    )


def _line(place: Place, *, alike: bool) -> Rank:
    contender = place.contender
    single = list(contender.single.values())
    interval = place.interval
    return Rank(
        rank=f"{place.rank}{'=' if place.tied > 1 else ''}",
        label=defense_label(contender.row) if alike else _label(contender),
        href=f"rows/{contender.row.cell_id}.html",
        value=_shown(place.value, contender),
        interval="" if interval is None else f"[{_shown(interval.low, contender)}, {_shown(interval.high, contender)}]",
        single=tuple(_shown(value, contender) for value in single) if len(single) > 1 else (),
        flags=", ".join(contender.flags),
    )


def _label(contender: Contender) -> str:
    return f"{defense_label(contender.row)}, {contender.network}, seed {contender.row.seed}"


def _shown(value: float, contender: Contender) -> str:
    _, scale, digits = _UNITS[contender.measure]
    return f"{scale * value:.{digits}f}"
