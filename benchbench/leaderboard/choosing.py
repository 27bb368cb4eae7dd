"""Finding the models that a caller names: by the beginning of an id, or by what they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from benchbench.errors import UsageError, suggest
from benchbench.leaderboard.contenders import Contender
from benchbench.leaderboard.names import method_code, parse_options
from benchbench.records import Row

_SHOWN = 8
_ALIKE = (
    "suite",
    "dataset",
    "architecture",
    "architecture_options",
    "augmentation",
    "dropout",
    "defense",
    "defense_options",
    "n_train",
    "epochs",
    "train_precision",
)


def choose(contenders: Sequence[Contender], wanted: str) -> list[Contender]:
    """The model that is meant, under each of its seeds.

    Args:
        contenders: all that there are.
        wanted: the beginning of a cell or model id, or ``KEY=VALUE[,KEY=VALUE...]`` with identity columns and options of
            defense and architecture: ``dataset=mnist,defense=trades,beta=6``.

    Raises:
        UsageError: no model, or several that differ in more than the seed; the message lists them.
    """
    matching = _by_filters(contenders, wanted) if "=" in wanted else _by_id(contenders, wanted)
    if not matching:
        known = sorted(f"{contender.row.cell_id} ({contender.label})" for contender in contenders)
        shown = "; ".join(known[:_SHOWN]) + (f"; and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")
        raise UsageError(f"no model with outcomes matches {wanted!r}", hint=f"there are: {shown or 'none'}")
    kinds = by_method(matching)
    seeds = [contender.row.seed for contender in matching]
    if len(kinds) > 1 or len(set(seeds)) < len(seeds):
        listed = "; ".join(f"{c.row.cell_id} ({c.label}, {c.row.profile} profile)" for c in matching[:_SHOWN])
        more = f"; and {len(matching) - _SHOWN} more" if len(matching) > _SHOWN else ""
        raise UsageError(f"{wanted!r} matches {len(matching)} models", hint=f"name one of {listed}{more}")
    return sorted(matching, key=lambda contender: contender.row.seed)


def by_method(contenders: Iterable[Contender]) -> dict[tuple[object, ...], list[Contender]]:
    """Models that differ in nothing but the seed, together; methods of another revision or other sources are others."""
    kinds: dict[tuple[object, ...], list[Contender]] = {}
    for contender in contenders:
        kinds.setdefault((*_described_alike(contender), method_code(contender.row)), []).append(contender)
    return kinds


def matched(first: Iterable[Contender], second: Iterable[Contender]) -> list[tuple[Contender, Contender]]:
    """Models of two leaderboards that are of the same configuration and seed, as far as their rows tell, of any code."""
    ours = {_key(contender): contender for contender in first}
    theirs = {_key(contender): contender for contender in second}
    return [(ours[key], theirs[key]) for key in ours if key in theirs]


def _key(contender: Contender) -> tuple[object, ...]:
    return (*_described_alike(contender), contender.row.seed)


def _described_alike(contender: Contender) -> tuple[object, ...]:
    return (*contender.setting, *(getattr(contender.row, name) for name in _ALIKE))


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
        if contenders and name not in known:
            raise UsageError(f"{wanted!r}: unknown column or option {name!r}", hint=suggest(name, known))
    return [
        contender
        for contender in contenders
        if all(_same(_described(contender.row).get(name), value) for name, value in filters.items())
    ]


def _filter(part: str, wanted: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if not equals or not name.strip():
        raise UsageError(
            f"{wanted!r} is no filter", hint="KEY=VALUE[,KEY=VALUE...], for instance defense=trades,beta=6"
        )
    return name.strip(), value.strip()


def _described(row: Row) -> Mapping[str, object]:
    """Everything that a model can be named by; the attack is not, for a model has several."""
    columns = {f.name: getattr(row, f.name) for f in dataclasses.fields(Row) if f.metadata["least"] is None}
    identity = {name: value for name, value in columns.items() if isinstance(value, (str, int, float))}
    del identity["attack"], identity["attack_options"], identity["cell_id"]
    return {**parse_options(row.architecture_options), **parse_options(row.defense_options), **identity}


def _same(value: object, text: str) -> bool:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(text) == float(value)
        except ValueError:
            return False
    return str(value) == text
