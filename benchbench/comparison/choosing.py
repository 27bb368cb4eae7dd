"""Finding models by the beginning of an id, or by their columns and options."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from benchbench.cell.filters import OF_A_MODEL, described, matches
from benchbench.comparison.contenders import Contender, labels
from benchbench.errors import UsageError, suggest
from benchbench.leaderboard import identity
from benchbench.leaderboard.filtering import DESCRIBING, having
from benchbench.leaderboard.names import weights_label
from benchbench.records import Row, Rows
from benchbench.records.arrays import Array

_SHOWN = 8
_OF_ATTACKS = {"attack", "attack_options"}  # a model has several


def candidates(rows: Rows, wanted: Iterable[str]) -> Rows:
    """The rows of models that texts of `choose` may mean; all rows if one means none."""
    models = rows.codes(*identity.ATTACKED)
    chosen = np.zeros(len(rows), dtype=bool)
    for text in wanted:
        meant = _meant(rows, text)
        if not meant.any():
            return rows
        chosen |= np.isin(models, models[meant])
    return rows.where(chosen)


def _meant(rows: Rows, wanted: str) -> Array:
    """bool (n,): the rows that a text may mean."""
    if "=" not in wanted:
        return np.asarray(rows.beginning("model_id", wanted) | rows.beginning("cell_id", wanted))
    chosen = np.ones(len(rows), dtype=bool)
    for name, value in (_filter(part, wanted) for part in wanted.split(",")):
        chosen &= having(rows, name, value)
    return chosen


def choose(contenders: Sequence[Contender], wanted: str) -> list[Contender]:
    """The runs of one model, sorted by seed.

    `wanted` is the beginning of a cell or model id, or ``KEY=VALUE[,KEY=VALUE...]`` with identity columns and options of
    defense and architecture: ``dataset=mnist,defense=trades,beta=6``. If no model matches, or several that differ in more than
    the seed, this is a UsageError that lists them.
    """
    matching = _by_filters(contenders, wanted) if "=" in wanted else _by_id(contenders, wanted)
    if not matching:
        known = sorted(f"{contender.row.cell_id} ({contender.label})" for contender in contenders)
        raise UsageError(f"no model with outcomes matches {wanted!r}", hint=f"there are: {_first(known) or 'none'}")
    seeds = [contender.row.seed for contender in matching]
    if len(by_method(matching)) > 1 or len(set(seeds)) < len(seeds):
        named = zip(matching, labels(matching))
        listed = _first([f"{c.row.cell_id} ({label}, {c.row.profile} profile)" for c, label in named])
        raise UsageError(f"{wanted!r} matches {len(matching)} models", hint=f"name one of {listed}")
    return sorted(matching, key=lambda contender: contender.row.seed or 0)


def _first(texts: Sequence[str]) -> str:
    return "; ".join([*texts[:_SHOWN], *([f"and {len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else [])])


def by_method(contenders: Iterable[Contender]) -> dict[tuple[object, ...], list[Contender]]:
    """Group models that differ only in the seed; other revisions or sources are other methods."""
    return identity.grouped(
        contenders, lambda one: (*one.setting, *identity.values(one.row, identity.TRAINED), identity.training(one.row))
    )


def methods(contenders: Iterable[Contender]) -> dict[str, list[Contender]]:
    """The groups of `by_method` under distinct labels."""
    kinds = list(by_method(contenders).values())
    names = identity.tell_apart([kind[0].method for kind in kinds], [kind[0].row for kind in kinds], identity.METHOD)
    return dict(zip(names, kinds))


def matched(first: Iterable[Contender], second: Iterable[Contender]) -> list[tuple[Contender, Contender]]:
    """Pairs of models of two leaderboards with equal columns, recipe and seed.

    If a leaderboard has several such models, only a model that both leaderboards contain is matched, with itself.
    """

    def configuration(one: Contender) -> tuple[object, ...]:
        columns = identity.values(one.row, (*identity.TRAINED, *identity.SEED))
        return (*one.setting, *columns, identity.recipe(one.row), weights_label(one.row.configuration))

    ours, theirs = identity.grouped(first, configuration), identity.grouped(second, configuration)
    pairs: list[tuple[Contender, Contender]] = []
    for key in (key for key in ours if key in theirs):
        found = [(one, other) for one in ours[key] for other in theirs[key]]
        pairs += found if len(found) == 1 else [pair for pair in found if pair[0].row.model_id == pair[1].row.model_id]
    return pairs


def _by_id(contenders: Sequence[Contender], wanted: str) -> list[Contender]:
    return [
        contender
        for contender in contenders
        if contender.row.model_id.startswith(wanted) or any(row.cell_id.startswith(wanted) for row in contender.rows)
    ]


def _by_filters(contenders: Sequence[Contender], wanted: str) -> list[Contender]:
    filters = dict(_filter(part, wanted) for part in wanted.split(","))
    known = {name for contender in contenders for name in _described(contender.row)}
    for name in filters:
        if name in _OF_ATTACKS:
            hint = "leave it out: models are compared under all the attacks that they have in common"
            raise UsageError(f"{wanted!r}: {name!r} chooses no model", hint=hint)
        if contenders and name not in known:
            raise UsageError(f"{wanted!r}: unknown column or option {name!r}", hint=suggest(name, known))
    return [
        contender
        for contender in contenders
        if all(matches(value, _described(contender.row).get(name)) for name, value in filters.items())
    ]


def _filter(part: str, wanted: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if not equals or not name.strip():
        raise UsageError(
            f"{wanted!r} is no filter", hint="KEY=VALUE[,KEY=VALUE...], for instance defense=trades,beta=6"
        )
    return name.strip(), value.strip()


def _described(row: Row) -> dict[str, object]:
    """Columns and options to choose a model by."""
    stated = {name: getattr(row, name) for name in DESCRIBING - _OF_ATTACKS}
    return described({name: value for name, value in stated.items() if value is not None}, OF_A_MODEL)
