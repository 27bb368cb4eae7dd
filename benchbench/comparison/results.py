"""The results of comparisons and rankings: for people, JSON, pandas, polars."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchbench.comparison.contenders import Contender, labels
from benchbench.comparison.pairing import Difference
from benchbench.comparison.ranking import Place
from benchbench.escaping import as_html, as_text
from benchbench.leaderboard.frames import arrow_table
from benchbench.leaderboard.identity import BALL, tell_apart
from benchbench.leaderboard.spread import Spread

_SHARES = ("test_accuracy", "adv_test_accuracy")
COLUMNS = ("A", "B", "measure", "A's", "B's", "difference [95%]", "p (Holm)", "verdict", "test")
SPREAD_COLUMNS = ("model", "measure", "seeds", "mean", "deviation", "95% interval")
Spreads = Mapping[str, Mapping[str, Spread]]  # by model and measure


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison:
    """Models compared in every common measure, on the same examples.

    A notebook shows it as a table; ``to_pandas()`` and ``polars.DataFrame(comparison)`` have a row for each difference.
    """

    differences: tuple[Difference, ...]
    seeds: Spreads = dataclasses.field(default_factory=dict)  # of each model over its seeds
    flags: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)  # of the models that have any

    @property
    def records(self) -> list[dict[str, object]]:
        """A mapping for each difference; accuracies are fractions."""
        return [{**dataclasses.asdict(one), "significant": one.significant} for one in self.differences]

    @property
    def document(self) -> dict[str, object]:
        """All of it as plain values, for JSON."""
        return {"differences": self.records, "seeds": _plain(self.seeds), "flags": dict(self.flags)}

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """The table to show, below `COLUMNS`."""
        return [_line(one) for one in self.differences]

    @property
    def warnings(self) -> list[str]:
        """A sentence for each model with flags."""
        return [
            f"flagged: {name}: {', '.join(found)}; its robust accuracy may be too good"
            for name, found in self.flags.items()
        ]

    def to_arrow(self) -> Any:
        """The `records` as a ``pyarrow.Table``, with the columns A and B for the models."""
        return arrow_table([{**dict(zip("AB", one.pop("models"))), **one} for one in self.records])

    def to_pandas(self) -> Any:
        """The same as a ``pandas.DataFrame``; needs pandas."""
        return self.to_arrow().to_pandas()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return "\n".join([as_text("", COLUMNS, self.lines), *self.warnings])

    def _repr_html_(self) -> str:
        return as_html("; ".join(self.warnings), COLUMNS, self.lines)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The models of one group, best first, all on the same examples under the same attacks."""

    title: str
    places: tuple[Place, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The headings of `lines`."""
        return ("rank", "model", *self.figures, "flags")

    @property
    def figures(self) -> tuple[str, ...]:
        """The headings of numbers: the measure, its interval and, of several attacks, each alone."""
        first = self.places[0].contender
        value = "robust accuracy" if first.measure in _SHARES else first.measure
        return (value, "[95%]", *(first.single if len(first.rows) > 1 else ()))

    @property
    def models(self) -> list[str]:
        """The label of each place."""
        return labels([place.contender for place in self.places])

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """The table to show, below `columns`."""
        lines = []
        for place, label in zip(self.places, self.models):
            one, interval = place.contender, place.interval
            figures = [place.value, *(one.single[attack] for attack in self.figures[2:])]
            value, *single = (shown(figure, one.measure) for figure in figures)
            limits = interval_text(interval.low, interval.high, one.measure) if interval else ""
            rank = f"{place.rank}{'=' if place.tied > 1 else ''}"
            lines.append((rank, label, value, limits, *single, ", ".join(one.flags)))
        return lines

    @property
    def records(self) -> list[dict[str, object]]:
        """A mapping for each place: model, measure, interval, each attack alone, flags, cells."""
        found = []
        for place, label in zip(self.places, self.models):
            one, ends = place.contender, {"low": None, "high": None}
            ends |= {} if place.interval is None else dataclasses.asdict(place.interval)
            facts = {"flags": ";".join(one.flags), "cell_ids": ";".join(row.cell_id for row in one.rows)}
            found.append({"rank": place.rank, "model": label, one.measure: place.value, **ends, **one.single, **facts})
        return found

    @property
    def document(self) -> dict[str, object]:
        """All of it as plain values, for JSON."""
        first = self.places[0].contender
        setting = {name: getattr(first.row, name) for name in ("dataset", "profile", "norm", "epsilon", "precision")}
        sizes = {"attacks": sorted(name for name, _ in first.attacks), "n_test": len(first.index)}
        return {**setting, **sizes, "places": [_place(*pair) for pair in zip(self.places, self.models)]}


@dataclass(frozen=True, kw_only=True, repr=False)
class Rankings:
    """A leaderboard's rankings, one for each group of models that may be compared.

    A notebook shows them as tables; ``to_pandas()`` and ``polars.DataFrame(rankings)`` have a row for each place.
    """

    rankings: tuple[Ranking, ...]
    seeds: Spreads = dataclasses.field(default_factory=dict)  # of the methods with several seeds

    @property
    def document(self) -> dict[str, object]:
        """All of it as plain values, for JSON."""
        return {"rankings": [one.document for one in self.rankings], "seeds": _plain(self.seeds)}

    @property
    def records(self) -> list[dict[str, object]]:
        """A mapping for each place, with the title of its ranking; accuracies are fractions."""
        return [{"ranking": one.title, **record} for one in self.rankings for record in one.records]

    def to_arrow(self) -> Any:
        """The `records` as a ``pyarrow.Table``."""
        return arrow_table(self.records)

    def to_pandas(self) -> Any:
        """The same as a ``pandas.DataFrame``; needs pandas."""
        return self.to_arrow().to_pandas()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return "\n\n".join(as_text(one.title, one.columns, one.lines) for one in self.rankings) or "no models to rank"

    def _repr_html_(self) -> str:
        return "".join(as_html(one.title, one.columns, one.lines) for one in self.rankings)


def titled(rankings: Sequence[tuple[Place, ...]]) -> tuple[Ranking, ...]:
    """Rankings with titles: the setting, and the differing columns if titles are equal."""
    first = [places[0].contender for places in rankings]
    titles = tell_apart([_title(one) for one in first], [one.row for one in first], BALL)
    return tuple(Ranking(title=title, places=places) for title, places in zip(titles, rankings))


def spread_lines(spreads: Spreads) -> list[tuple[object, ...]]:
    """The spread of models with several seeds, below `SPREAD_COLUMNS`."""
    return [
        (name, measure, one.n, shown(one.mean, measure), deviation, interval_text(one.low, one.high, measure))
        for name, found in spreads.items()
        if any(one.n > 1 for one in found.values())
        for measure, one in found.items()
        for deviation in ["" if one.deviation is None else shown(one.deviation, measure)]
    ]


def shown(value: float, measure: str) -> str:
    """A value of a measure: accuracies in percent."""
    return f"{value:.2%}" if measure in _SHARES else f"{value:.4g}"


def interval_text(low: float | None, high: float | None, measure: str) -> str:
    """An interval of a measure; empty if it has no ends."""
    return "" if low is None or high is None else f"[{shown(low, measure)}, {shown(high, measure)}]"


def _title(first: Contender) -> str:
    searched = f", attacks searched in {first.row.rounding}" if first.row.rounding else ""
    return (
        f"{first.row.dataset}, {first.row.norm} epsilon {first.row.epsilon:g}, {first.row.profile} profile, "
        f"{len(first.index):,} test examples, worst of {' and '.join(first.single)}{searched}"
    )


def _line(d: Difference) -> tuple[str, ...]:
    values = [shown(value, d.measure) for value in (d.first, d.second, d.difference)]
    values[2] += f" {interval_text(d.low, d.high, d.measure)}"
    verdict = "significant" if d.significant else "tie"
    if d.p_value is None:
        verdict = "no test: the seeds show no spread"
    test = d.test if max(d.seeds) == 1 else f"{d.test} ({d.seeds[0]} and {d.seeds[1]})"
    return (*d.models, d.measure, *values, "" if d.adjusted is None else f"{d.adjusted:.3g}", verdict, test)


def _place(place: Place, label: str) -> dict[str, object]:
    one = place.contender
    return {
        "rank": place.rank,
        "tied": place.tied,
        "model": label,
        "cell_ids": [row.cell_id for row in one.rows],
        "robust_accuracy" if one.measure in _SHARES else one.measure: place.value,
        "interval": dataclasses.asdict(place.interval) if place.interval else None,
        "attacks": dict(one.single),
        "flags": list(one.flags),
    }


def _plain(spreads: Spreads) -> dict[str, dict[str, object]]:
    return {name: {key: dataclasses.asdict(one) for key, one in found.items()} for name, found in spreads.items()}
