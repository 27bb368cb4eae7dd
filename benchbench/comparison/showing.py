"""Comparisons and rankings as tables, records and JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from benchbench.comparison.contenders import Contender, labels
from benchbench.comparison.pairing import Difference
from benchbench.comparison.ranking import Place
from benchbench.errors import counted
from benchbench.leaderboard.frames import Listing, Sheet
from benchbench.leaderboard.identity import BALL, tell_apart
from benchbench.leaderboard.spread import Spread

_SHARES = ("test_accuracy", "adv_test_accuracy")
_COLUMNS = ("A", "B", "measure", "A's", "B's", "difference [95%]", "p (Holm)", "verdict", "test")
_LEGEND = (
    "= models share a rank unless the difference is significant (accuracies: exact McNemar; squared errors: paired t; "
    "Holm, 0.05)",
    "Flagged models rank below all others; only the standard AutoAttack as a whole clears flags.",
)
Spreads = Mapping[str, Mapping[str, Spread]]  # by model and measure


def comparison(
    differences: Sequence[Difference],
    seeds: Spreads,
    flags: Mapping[str, Sequence[str]],
    title: str = "",
    cards: Mapping[str, str] = MappingProxyType({}),
) -> Listing:
    """Differences, a record each; the spread over seeds; flags and cards of models."""
    warnings = [
        f"flagged: {name}: {', '.join(found)}; its robust accuracy may be too good" for name, found in flags.items()
    ]
    warnings += [f"stated, not checked: {name}: {card}" for name, card in cards.items()]
    found = [{**dataclasses.asdict(one), "significant": one.significant} for one in differences]
    several = {name: one for name, one in seeds.items() if any(spread.n > 1 for spread in one.values())}
    lines = [_line(one) for one in differences]
    return Listing(
        sheets=(Sheet(title, _COLUMNS, lines, _COLUMNS[3:7], warnings), *_spread_sheets(several)),
        records=[{**dict(zip("AB", one["models"])), **one} for one in found],
        document={"differences": found, "seeds": _plain(seeds), "flags": dict(flags), "cards": dict(cards)},
    )


def rankings(found: Sequence[Sequence[Place]], seeds: Spreads) -> Listing:
    """Rankings, a record for each place; the spread of methods over seeds."""
    first = [places[0].contender for places in found]
    titles = tell_apart([_title(one) for one in first], [one.row for one in first], BALL)
    sheets = [_ranking_sheet(*pair) for pair in zip(titles, found)]
    documents = [_ranking_document(places) for places in found]
    sheets[-1:] = [last._replace(remarks=_LEGEND) for last in sheets[-1:]]
    return Listing(
        sheets=(*sheets, *_spread_sheets(seeds)),
        records=[
            {**{name: value for name, value in document.items() if name != "places"}, **place}
            for document in documents
            for place in document["places"]
        ],
        document={"rankings": documents, "seeds": _plain(seeds)},
    )


def _line(d: Difference) -> tuple[str, ...]:
    shown = [_shown(value, d.measure) for value in (d.first, d.second, d.difference)]
    shown[2] += f" {_range(d.low, d.high, d.measure)}"
    verdict = "significant" if d.significant else "tie"
    if d.p_value is None:
        verdict = "no test: the seeds show no spread"
    test = f"{d.test}, {d.n:,} examples" if max(d.seeds) == 1 else f"{d.test} ({d.seeds[0]} and {d.seeds[1]})"
    return (*d.models, d.measure, *shown, "" if d.adjusted is None else f"{d.adjusted:.3g}", verdict, test)


def _title(first: Contender) -> str:
    searched = f", attacks searched in {first.row.rounding}" if first.row.rounding else ""
    return (
        f"{first.row.dataset}, {first.row.norm} epsilon {first.row.epsilon:g}, {first.row.profile} profile, "
        f"{counted(len(first.index), 'test example')}, worst of {' and '.join(first.single)}{searched}"
    )


def _ranking_sheet(title: str, places: Sequence[Place]) -> Sheet:
    first = places[0].contender
    measure, single = first.measure, list(first.single) if len(first.rows) > 1 else []
    figures = ("robust accuracy" if measure in _SHARES else measure, "[95%]", *single)
    lines = []
    for place, label in zip(places, labels([place.contender for place in places])):
        rank, interval = f"{place.rank}{'=' if place.tied > 1 else ''}", place.interval
        values = [_shown(place.value, measure), _range(interval.low, interval.high, measure) if interval else ""]
        values += [_shown(place.contender.single[attack], measure) for attack in single]
        lines.append((rank, label, *values, ", ".join(place.contender.flags)))
    return Sheet(title, ("rank", "model", *figures, "flags"), lines, ("rank", *figures))


def _ranking_document(places: Sequence[Place]) -> dict[str, Any]:
    first = places[0].contender
    return {
        "dataset": first.row.dataset,
        "profile": first.row.profile,
        "norm": first.row.norm,
        "epsilon": first.row.epsilon,
        "precision": first.row.precision,
        "attacks": sorted(name for name, _ in first.attacks),
        "n_test": len(first.index),
        "places": [
            {
                "rank": place.rank,
                "tied": place.tied,
                "model": label,
                "cell_ids": [row.cell_id for row in place.contender.rows],
                "robust_accuracy" if place.contender.measure in _SHARES else place.contender.measure: place.value,
                "interval": dataclasses.asdict(place.interval) if place.interval else None,
                "attacks": dict(place.contender.single),
                "flags": list(place.contender.flags),
            }
            for place, label in zip(places, labels([place.contender for place in places]))
        ],
    }


def _spread_sheets(spreads: Spreads) -> list[Sheet]:
    lines = [
        (name, measure, one.n, _shown(one.mean, measure), deviation, _range(one.low, one.high, measure))
        for name, found in spreads.items()
        for measure, one in found.items()
        for deviation in ["" if one.deviation is None else _shown(one.deviation, measure)]
    ]
    return [Sheet("", ("model", "measure", "seeds", "mean", "deviation", "95% interval"), lines)] if lines else []


def _plain(spreads: Spreads) -> dict[str, dict[str, object]]:
    return {name: {key: dataclasses.asdict(one) for key, one in found.items()} for name, found in spreads.items()}


def _shown(value: float, measure: str) -> str:
    return f"{value:.2%}" if measure in _SHARES else f"{value:.4g}"


def _range(low: float | None, high: float | None, measure: str) -> str:
    return "" if low is None or high is None else f"[{_shown(low, measure)}, {_shown(high, measure)}]"
