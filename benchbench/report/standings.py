"""The ranked boards of a suite's page: each model once, in the worst case over its attacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchbench.comparison.contenders import Contender, on_common_examples
from benchbench.comparison.ranking import rank, tie_groups
from benchbench.leaderboard.challenges import CHALLENGED
from benchbench.leaderboard.clearing import standing_flags
from benchbench.leaderboard.identity import ATTACKED, BALL, grouped, values
from benchbench.leaderboard.matching import is_regression
from benchbench.leaderboard.spread import interval_of
from benchbench.records import Interval, Row

_Attack = tuple[str, str]  # name, and options as JSON
CERTIFIED = "certified_test_accuracy"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A model on its board: accuracies as fractions, squared errors of regressions."""

    rows: tuple[Row, ...]  # of the model, one for each attack
    worst: Row  # of the attack, among those of the board, that found it least robust
    value: float  # in the pointwise worst case over the board's attacks, if outcomes are here; else of `worst`
    interval: Interval | None  # 95%
    single: tuple[float, ...]  # under each of the board's attacks alone
    overall: float | None  # under all its attacks, at most; None if it has no others than the board
    flags: tuple[str, ...]  # that stand under all its attacks
    rank: int = 0
    tied: int = 1  # models that share the rank, this one included

    @property
    def certified(self) -> float | None:
        """Lower bound of the robust accuracy, by a sound bound; None without one."""
        bounds = (getattr(row, CERTIFIED, row.extra.get(CERTIFIED)) for row in self.rows)
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

    def under(self, attacks: frozenset[_Attack]) -> tuple[Row, ...]:
        return tuple(row for attack, row in sorted(self.rows.items()) if attack in attacks)


def standings(rows: Iterable[Row], contenders: Iterable[Contender]) -> list[Standings]:
    """The boards of finished, measured rows; each model is on exactly one board per ball.

    Models of one ball are ranked under the attacks that most of them have, whatever further attacks some have. So neither a
    newcomer with fewer attacks nor one with more changes what ranks the others. Models that lack one of these attacks form
    boards of their own, by the same rule.
    """
    models = _models(rows, {values(one.row, ATTACKED): one for one in contenders})
    balls = grouped(models, lambda one: (values(_first(one), BALL), is_regression(_first(one)), one.contender is None))
    boards = [_standings(attacks, found) for alike in balls.values() for attacks, found in _by_attacks(alike)]
    return sorted(boards, key=_prominence)


def measure_of(row: Row) -> str:
    """The measure that ranks a row's model."""
    return "adv_test_mse" if is_regression(row) else "adv_test_accuracy"


def _models(rows: Iterable[Row], contenders: dict[tuple[object, ...], Contender]) -> list[_Model]:
    models: dict[tuple[object, ...], dict[_Attack, Row]] = {}
    for row in rows:
        if row.source != "measured" or row.status != "ok" or getattr(row, measure_of(row)) is None:
            continue
        attacked = models.setdefault(values(row, ATTACKED), {})
        attack = row.attack, row.attack_options
        if attack not in attacked or row.n_test > attacked[attack].n_test:
            attacked[attack] = row
    known = {key: contenders.get(key) for key in models}
    return [
        _Model(rows=found, contender=one if (one := known[key]) and one.attacks == found.keys() else None)
        for key, found in models.items()
    ]


def _first(model: _Model) -> Row:
    return next(iter(model.rows.values()))


def _by_attacks(models: Sequence[_Model]) -> list[tuple[frozenset[_Attack], list[_Model]]]:
    """Sets of attacks, each with models that have all of it; each model once."""
    left, boards = list(models), []
    while left:
        counts = Counter(frozenset(model.rows) for model in left)
        attacks = max(counts, key=lambda chosen: (counts[chosen], len(chosen), sorted(chosen)))
        boards.append((attacks, [model for model in left if attacks <= model.rows.keys()]))
        left = [model for model in left if not attacks <= model.rows.keys()]
    return boards


def _standings(attacks: frozenset[_Attack], models: Sequence[_Model]) -> Standings:
    contenders = [one.contender.under(attacks) for one in models if one.contender is not None]
    shared = on_common_examples(contenders) if contenders else []
    paired = bool(shared) and len(shared[0].index) > 0
    alone = () if paired else [_alone(attacks, one) for one in models]
    places = tuple(_paired(attacks, models, shared) if paired else _by_intervals(alone))
    examples = len(shared[0].index) if paired else min(row.n_test for one in places for row in one.rows)
    return Standings(attacks=tuple(sorted(attacks)), paired=paired, examples=examples, places=places)


def _paired(
    attacks: frozenset[_Attack], models: Sequence[_Model], contenders: Sequence[Contender]
) -> Iterable[Standing]:
    by_key = {values(_first(model), ATTACKED): model for model in models}
    models = [by_key[values(one.row, ATTACKED)] for one in contenders]
    for place in rank(contenders, [bool(_flags(one)) for one in models]):
        model = by_key[values(place.contender.row, ATTACKED)]
        yield Standing(
            rows=model.under(frozenset(model.rows)),
            worst=_worst(model.under(attacks)),
            value=place.value,
            interval=place.interval,
            single=tuple(place.contender.single.values()),
            overall=_under_all(model, place.contender) if len(model.rows) > len(attacks) else None,
            flags=_flags(model),
            rank=place.rank,
            tied=place.tied,
        )


def _flags(model: _Model) -> tuple[str, ...]:
    if model.contender is not None:
        return model.contender.flags
    rows = tuple(model.rows.values())
    return standing_flags(rows, [-_badness(row) for row in rows])


def _under_all(model: _Model, shown: Contender) -> float:
    """In the pointwise worst case over all attacks, each where it was run on the examples shown."""
    worst = shown.worst[shown.measure].copy()
    column, worse = ("robust", np.logical_and) if worst.dtype == np.bool_ else ("adv_squared_error", np.maximum)
    for found in model.contender.outcomes if model.contender is not None else ():
        run = np.isin(found["index"], shown.index)
        places = np.searchsorted(shown.index, found["index"][run])
        worst[places] = worse(worst[places], found[column][run])
    return float(worst.mean())


def _alone(attacks: frozenset[_Attack], model: _Model) -> Standing:
    chosen, every = model.under(attacks), model.under(frozenset(model.rows))
    worst = _worst(chosen)
    measure = measure_of(worst)
    return Standing(
        rows=every,
        worst=worst,
        value=getattr(worst, measure),
        interval=interval_of(worst, measure),
        single=tuple(getattr(row, measure) for row in chosen),
        overall=getattr(_worst(every), measure) if len(every) > len(chosen) else None,
        flags=_flags(model),
    )


def _by_intervals(models: Sequence[Standing]) -> Iterable[Standing]:
    """Ranked; models share a rank unless their intervals are apart, which is stricter than a test."""
    order = sorted(models, key=lambda one: (bool(one.flags), *_order(one)))
    # unknown ends are NaN, which is below nothing: unknown intervals do not tell models apart
    low, high = (np.array([getattr(one.interval, end, np.nan) for one in order]) for end in ("low", "high"))
    below = high[:, None] < low[None, :]
    for first, members in tie_groups(range(len(order)), [bool(one.flags) for one in order], (below | below.T).tolist()):
        for place in members:
            yield replace(order[place], rank=first, tied=len(members))


def _order(one: Standing) -> tuple[float, str]:
    return (one.value if is_regression(one.worst) else -one.value), one.worst.cell_id


def _worst(rows: Sequence[Row]) -> Row:
    return max(rows, key=lambda row: (_badness(row), row.cell_id))


def _badness(row: Row) -> float:
    """Higher for less robust."""
    value = float(getattr(row, measure_of(row)))
    return value if is_regression(row) else -value


def _prominence(board: Standings) -> tuple[object, ...]:
    """Sort key: classifiers first, many models first."""
    row = board.places[0].worst
    return is_regression(row), -len(board.places), row.profile, row.dataset, row.norm, row.epsilon, row.cell_id
