"""Ranks and spreads over seeds as text for the page of a suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchbench.comparison.choosing import methods
from benchbench.comparison.contenders import Contender
from benchbench.comparison.pairing import spreads
from benchbench.comparison.ranking import Place, rank_all
from benchbench.leaderboard.identity import BALL, MODEL, tell_apart
from benchbench.leaderboard.names import dataset_label, defense_label, joined, searched_in, seed_label
from benchbench.leaderboard.spread import Spread
from benchbench.report.contents import Board

_SPREAD = "adv_test_accuracy"
_UNITS = {"adv_test_accuracy": ("Robust accuracy (%)", 100.0, 2), "adv_test_mse": ("Adversarial test MSE", 1.0, 4)}


@dataclass(frozen=True, kw_only=True)
class Rank:
    """A ranking's line as text: shared ranks end in ``=``; `single` has each attack's value."""

    rank: str
    label: str
    href: str
    value: str
    interval: str
    single: tuple[str, ...]
    flags: str


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Models that may be ranked together."""

    name: str  # data and attacks, for screen readers
    caption: str  # what the models have in common
    value: str  # heading of the values, with their unit
    attacks: tuple[str, ...]  # headings of the values under single attacks; empty if there is only one attack
    lines: tuple[Rank, ...]


def rankings(board: Board) -> list[Ranking]:
    """The rankings of a leaderboard, one for each group of comparable models."""
    ranked = rank_all(board.contenders)
    rows = [places[0].contender.row for places in ranked]
    captions = tell_apart([_caption(places) for places in ranked], rows, BALL)
    names = tell_apart([_name(places) for places in ranked], rows, BALL)
    return [_ranking(*found) for found in zip(ranked, names, captions)]


def method_spreads(board: Board) -> list[tuple[str, str, Spread]]:
    """Method, profile, and spread of the robust accuracy, of methods with several seeds."""
    several = {name: found for name, found in methods(board.contenders).items() if len(found) > 1}
    measured = ((name, found[0].row.profile, spreads(found).get(_SPREAD)) for name, found in several.items())
    return [(name, profile, spread) for name, profile, spread in measured if spread is not None]


def _ranking(places: Sequence[Place], name: str, caption: str) -> Ranking:
    first = places[0].contender
    attacks = tuple(first.single)
    return Ranking(
        name=name,
        caption=caption,
        value=_UNITS[first.measure][0],
        attacks=attacks if len(attacks) > 1 else (),
        lines=tuple(_line(place, label) for place, label in zip(places, _labels(places))),
    )


def _name(places: Sequence[Place]) -> str:
    first = places[0].contender
    threat = f"{first.row.norm} epsilon {first.row.epsilon:g}"
    return f"{dataset_label(first.row)}, {threat}, {first.row.profile} profile, {' and '.join(first.single)}"


def _caption(places: Sequence[Place]) -> str:
    first, row = places[0].contender, places[0].contender.row
    return joined(
        dataset_label(row),
        f"{first.network}, {seed_label(row)}" if _alike(places) else "",
        f"{row.norm} epsilon {row.epsilon:g}",
        f"{row.profile} profile",
        f"{len(first.index):,} test examples; worst of {' and '.join(first.single)}",
        searched_in(row),
    )


def _alike(places: Sequence[Place]) -> bool:
    """Whether all models have one network and seed, which only the caption then shows."""
    return len({(place.contender.network, seed_label(place.contender.row)) for place in places}) == 1


def _labels(places: Sequence[Place]) -> list[str]:
    models = [place.contender for place in places]
    varying = ["" if _alike(places) else f"{one.network}, {seed_label(one.row)}" for one in models]
    labels = [joined(defense_label(one.row), more) for one, more in zip(models, varying)]
    return tell_apart(labels, [one.row for one in models], MODEL)


def _line(place: Place, label: str) -> Rank:
    contender = place.contender
    single = list(contender.single.values())
    interval = place.interval
    return Rank(
        rank=f"{place.rank}{'=' if place.tied > 1 else ''}",
        label=label,
        href=f"rows/{contender.row.cell_id}.html",
        value=_sides(place.value, contender),
        interval="" if interval is None else f"[{_shown(interval.low, contender)}, {_shown(interval.high, contender)}]",
        single=tuple(_shown(value, contender) for value in single) if len(single) > 1 else (),
        flags=", ".join(contender.flags),
    )


def _sides(value: float, contender: Contender) -> str:
    """The value under attack, or both ends: certified and attacked."""
    known = [row.certified_test_accuracy for row in contender.rows if row.certified_test_accuracy is not None]
    attacked = _shown(value, contender)
    return f"[{_shown(max(known), contender)}, {attacked}]" if known else attacked


def _shown(value: float, contender: Contender) -> str:
    _, scale, digits = _UNITS[contender.measure]
    return f"{scale * value:.{digits}f}"
