"""Select cells by identity columns and options: ``--only defense=trades,at --only beta=6``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from benchbench.cell.filters import OF_A_MODEL, OF_AN_ATTACK, described, matches, split_values
from benchbench.errors import UsageError, suggest

_OPTIONS = (*OF_AN_ATTACK, *OF_A_MODEL)


class Identified(Protocol):
    """An item with identity columns."""

    @property
    def identity(self) -> Mapping[str, object]:
        """Values by column name."""
        ...


Item = TypeVar("Item", bound=Identified)


Filters = str | Sequence[str] | Mapping[str, object]


def as_texts(filters: Filters) -> tuple[str, ...]:
    """Filters as the command line has them.

    >>> as_texts({"defense": ["trades", "at"], "beta": 6})
    ('defense=trades,at', 'beta=6')
    """
    if isinstance(filters, str):
        return (filters,)
    if not isinstance(filters, Mapping):
        return tuple(filters)
    listed = {key: value if isinstance(value, (list, tuple)) else [value] for key, value in filters.items()}
    return tuple(f"{key}={','.join(map(str, values))}" for key, values in listed.items())


def parse_only(filters: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Parse ``KEY=VALUE,VALUE`` filters (else UsageError); several of a key are combined.

    >>> parse_only(["dataset=mnist", "defense=trades,at"])
    {'dataset': ('mnist',), 'defense': ('trades', 'at')}
    """
    parsed: dict[str, tuple[str, ...]] = {}
    for text in filters:
        key, equals, values = text.partition("=")
        names = split_values(values)
        if not equals or not key.strip() or not names:
            raise UsageError(f"--only {text!r}: expected KEY=VALUE", hint="for instance --only defense=trades,at")
        parsed[key.strip()] = (*parsed.get(key.strip(), ()), *names)
    return parsed


def select(
    items: Sequence[Item],
    only: Mapping[str, Sequence[str]],
    elsewhere: Callable[[], Mapping[str, Sequence[Item]]] = dict,
) -> tuple[Item, ...]:
    """The items that match every filter; UsageError where one has none, `elsewhere` for hints."""
    if not only:
        return tuple(items)
    known = [described(item.identity, _OPTIONS) for item in items]
    for key, values in only.items():
        present = [one[key] for one in known if key in one]
        for value in values:
            if not any(matches(value, candidate) for candidate in present):
                raise _no_match(key, value, present, known, elsewhere())
    selected = tuple(item for item, one in zip(items, known) if all(_passes(one, *filters) for filters in only.items()))
    if items and not selected:
        raise UsageError("--only: no cell matches all of the filters", hint="drop one of them")
    return selected


def _no_match(
    key: str,
    value: str,
    present: Sequence[object],
    known: Sequence[Mapping[str, object]],
    elsewhere: Mapping[str, Sequence[Item]],
) -> UsageError:
    others = {name: [described(item.identity, _OPTIONS) for item in items] for name, items in elsewhere.items()}
    places = [name for name, items in others.items() if any(_passes(one, key, (value,)) for one in items)]
    if places:
        hint = f"the suite has it in --profile {' and '.join(places)}"
        return UsageError(f"--only {key}={value}: no cell of this profile has this {key}", hint=hint)
    everywhere = [*known, *(one for items in others.values() for one in items)]
    if everywhere and not any(key in one for one in everywhere):
        names = sorted({name for one in everywhere for name in one})
        return UsageError(f"--only {key}=...: unknown column or option {key!r}", hint=suggest(key, names))
    candidates = present or [one[key] for one in everywhere if key in one]
    hint = suggest(value, {str(candidate) for candidate in candidates})
    return UsageError(f"--only {key}={value}: no cell has this {key}", hint=hint)


def _passes(known: Mapping[str, object], key: str, values: Sequence[str]) -> bool:
    return key in known and any(matches(value, known[key]) for value in values)
