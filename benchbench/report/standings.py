"""The ranked boards of a suite's page: each model once, in the worst case over its attacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchbench.comparison.contenders import Contender, by_attack, on_common_examples
from benchbench.comparison.ranking import rank, tie_groups
from benchbench.leaderboard.challenges import CHALLENGED
from benchbench.leaderboard.clearing import standing_flags
from benchbench.leaderboard.identity import ATTACKED, BALL, grouped, values
from benchbench.leaderboard.matching import is_regression, measure_of
from benchbench.leaderboard.spread import interval_of
from benchbench.records import Interval, Row

_Attack = tuple[str, str]  # name, and options as JSON


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A model on its board: accuracies as fractions, squared errors of regressions."""

    rows: tuple[Row, ...]  # of the model, one for each attack
    worst: Row  # of the attack, among those of the board, that found it least robust
    value: float  # in the pointwise worst case over the board's attacks, if outcomes are here; else of `worst`
    interval: Interval | None  # 95%
    clean: float | None  # without attack, on the same examples
    single: tuple[float, ...]  # under each of the board's attacks alone
    overall: float | None  # under all its attacks, at most; None if it has no others than the board
    flags: tuple[str, ...]  # that stand under all its attacks
    rank: int = 0
    tied: int = 1  # models that share the rank, this one included

    @property
    def certified(self) -> float | None:
        """Lower bound of the robust accuracy, by a sound bound; None without one."""
        bounds = (row.certified_test_accuracy for row in self.rows)
        return next((bound for bound in bounds if bound is not None), None)

    @property
    def challenged(self) -> float | None:
        """Upper bound of the robust accuracy by challenges of its rows; None without any."""
        return min((row.extra[CHALLENGED] for row in self.rows if CHALLENGED in row.extra), default=None)


@dataclass(frozen=True, kw_only=True)
class Standings:
    """Models ranked under the same attacks, on the same data and in the same ball; best first."""

    attacks: tuple[_Attack, ...]  # sorted
    paired: bool  # whether ranks come from paired tests on the same examples; if not, from the intervals
    examples: int  # of the test set; the fewest of any model
    places: tuple[Standing, ...]


@dataclass(frozen=True, kw_only=True)
class _Model:
    """A model's rows by attack; a contender if the outcomes of all of them are here."""

    rows: dict[_Attack, Row]
    contender: Contender | None

    @property
    def first(self) -> Row:
        return next(iter(self.rows.values()))


def standings(rows: Iterable[Row], contenders: Iterable[Contender]) -> list[Standings]:
    """The boards of finished, measured rows; each model is on exactly one board per ball.

    Models of one ball are ranked under the attacks that most of them have, without their other attacks. So neither a newcomer
    with fewer attacks nor one with more changes what ranks the others. Models that lack one of these attacks form separate
    boards, by the same rule. Boards of classifiers come first, then those of many models.
    """
    models = _models(rows, {values(one.row, ATTACKED): one for one in contenders})
    balls = grouped(models, lambda one: (values(one.first, BALL), is_regression(one.first), one.contender is None))
    boards = [_standings(attacks, found) for alike in balls.values() for attacks, found in _by_attacks(alike)]
    firsts = [board.places[0].worst for board in boards]
    keys = [
        (is_regression(row), -len(b.places), row.dataset, row.epsilon, row.cell_id) for b, row in zip(boards, firsts)
    ]
    return [boards[place] for place in sorted(range(len(boards)), key=keys.__getitem__)]


def _models(rows: Iterable[Row], contenders: dict[tuple[object, ...], Contender]) -> Iterable[_Model]:
    measured = (row for row in rows if row.source == "measured" and row.status == "ok")
    for key, found in by_attack(row for row in measured if getattr(row, measure_of(row)) is not None).items():
        contender = contenders.get(key)
        whole = contender is not None and contender.attacks == found.keys()
        yield _Model(rows=found, contender=contender if whole else None)


def _by_attacks(models: Sequence[_Model]) -> Iterable[tuple[frozenset[_Attack], list[_Model]]]:
    """Sets of attacks, each with models that have all of it; each model once."""
    left = list(models)
    while left:
        counts = Counter(frozenset(model.rows) for model in left)
        attacks = max(counts, key=lambda chosen: (counts[chosen], len(chosen), sorted(chosen)))
        yield attacks, [model for model in left if attacks <= model.rows.keys()]
        left = [model for model in left if not attacks <= model.rows.keys()]


def _standings(attacks: frozenset[_Attack], models: Sequence[_Model]) -> Standings:
    contenders = [one.contender.under(attacks) for one in models if one.contender is not None]
    shared = on_common_examples(contenders) if contenders else []
    paired = bool(shared) and len(shared[0].index) > 0
    places = tuple(_paired(attacks, models, shared) if paired else _by_intervals(attacks, models))
    examples = len(shared[0].index) if paired else min(row.n_test for one in places for row in one.rows)
    return Standings(attacks=tuple(sorted(attacks)), paired=paired, examples=examples, places=places)


def _paired(attacks: frozenset[_Attack], models: Sequence[_Model], shared: Sequence[Contender]) -> Iterable[Standing]:
    alone = {model.first.model_id: _alone(attacks, model) for model in models}
    whole = {model.first.model_id: model.contender for model in models}
    for place in rank(shared, [bool(alone[one.row.model_id].flags) for one in shared]):
        one, contender = alone[place.contender.row.model_id], whole[place.contender.row.model_id]
        overall = None if one.overall is None or contender is None else _under_all(contender, place.contender)
        one = replace(
            one, single=tuple(place.contender.single.values()), overall=overall, rank=place.rank, tied=place.tied
        )
        clean = float(place.contender.worst[place.contender.measure.removeprefix("adv_")].mean())
        yield replace(one, value=place.value, interval=place.interval, clean=clean)


def _under_all(model: Contender, shown: Contender) -> float:
    """In the pointwise worst case over all attacks, each where it was run on the examples shown."""
    worst = shown.worst[shown.measure].copy()
    column, worse = ("robust", np.logical_and) if worst.dtype == np.bool_ else ("adv_squared_error", np.maximum)
    for found in model.outcomes:
        run = np.isin(found["index"], shown.index)
        places = np.searchsorted(shown.index, found["index"][run])
        worst[places] = worse(worst[places], found[column][run])
    return float(worst.mean())


def _alone(attacks: frozenset[_Attack], model: _Model) -> Standing:
    """A model by its rows, unranked."""
    every = tuple(model.rows.values())
    chosen = [row for attack, row in model.rows.items() if attack in attacks]
    worst, measure = max(chosen, key=_badness), measure_of(model.first)
    own = standing_flags(every, [-_badness(row) for row in every])
    return Standing(
        rows=every,
        worst=worst,
        value=getattr(worst, measure),
        interval=interval_of(worst, measure),
        clean=getattr(worst, measure.removeprefix("adv_")),
        single=tuple(getattr(row, measure) for row in chosen),
        overall=getattr(max(every, key=_badness), measure) if len(every) > len(chosen) else None,
        flags=own if model.contender is None else model.contender.flags,
    )


def _by_intervals(attacks: frozenset[_Attack], models: Sequence[_Model]) -> Iterable[Standing]:
    """Ranked; models share a rank unless their intervals are apart, stricter than a test."""
    found = [_alone(attacks, model) for model in models]
    order = sorted(found, key=lambda one: (bool(one.flags), _badness(one.worst), one.worst.cell_id))
    # unknown ends are NaN, which is below nothing: unknown intervals do not tell models apart
    low, high = (np.array([getattr(one.interval, end, np.nan) for one in order]) for end in ("low", "high"))
    below = high[:, None] < low[None, :]
    for first, members in tie_groups(range(len(order)), [bool(one.flags) for one in order], (below | below.T).tolist()):
        yield from (replace(order[place], rank=first, tied=len(members)) for place in members)


def _badness(row: Row) -> float:
    """Higher for less robust."""
    value = float(getattr(row, measure_of(row)))
    return value if is_regression(row) else -value
