"""Select cells by their identity columns: ``--only dataset=mnist --only defense=trades,at``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from benchbench.contract.threat import parse_number
from benchbench.errors import OptionError, UsageError, suggest


class Identified(Protocol):
    """An item with identity columns."""

    @property
    def identity(self) -> Mapping[str, object]:
        """Values by column name."""
        ...


Item = TypeVar("Item", bound=Identified)


def parse_only(filters: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Parse ``KEY=VALUE,VALUE`` filters; several filters of a key are combined.

    Raises:
        UsageError: a filter is not of this form.

    >>> parse_only(["dataset=mnist", "defense=trades,at"])
    {'dataset': ('mnist',), 'defense': ('trades', 'at')}
    """
    parsed: dict[str, tuple[str, ...]] = {}
    for text in filters:
        key, equals, values = text.partition("=")
        names = tuple(value.strip() for value in values.split(",") if value.strip())
        if not equals or not key.strip() or not names:
            raise UsageError(f"--only {text!r}: expected KEY=VALUE", hint="for instance --only defense=trades,at")
        parsed[key.strip()] = (*parsed.get(key.strip(), ()), *names)
    return parsed


def check_columns(only: Mapping[str, Sequence[str]], columns: Iterable[str]) -> None:
    """Raise `UsageError` for a filter that is not by an identity column."""
    known = tuple(columns)
    for key in only:
        if key not in known:
            raise UsageError(f"--only {key}=...: unknown column {key!r}", hint=suggest(key, known))


def select(items: Sequence[Item], only: Mapping[str, Sequence[str]]) -> tuple[Item, ...]:
    """The items that match every filter; `UsageError` if a value or all filters match none."""
    for key, values in only.items():
        present = [item.identity[key] for item in items if key in item.identity]
        for value in values:
            if not any(_matches(value, candidate) for candidate in present):
                hint = suggest(value, {str(candidate) for candidate in present})
                raise UsageError(f"--only {key}={value}: no cell has this {key}", hint=hint)
    selected = tuple(item for item in items if all(_passes(item.identity, *one) for one in only.items()))
    if items and not selected:
        raise UsageError("--only: no cell matches all of the filters", hint="drop one of them")
    return selected


def _passes(identity: Mapping[str, object], key: str, values: Sequence[str]) -> bool:
    return key in identity and any(_matches(value, identity[key]) for value in values)


def _matches(text: str, value: object) -> bool:
    """Whether a text means a value; numbers compare by value: 0.10 is 0.1, 8/255 the radius."""
    if isinstance(value, (int, float)):
        try:
            return parse_number(text) == value
        except OptionError:
            return False
    return text == str(value)
