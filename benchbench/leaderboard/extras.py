"""Values beyond a leaderboard's columns that metrics, above all those of plugins, report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from benchbench.escaping import printable
from benchbench.leaderboard.names import number
from benchbench.records import Row, Rows

_ENDS = ("_low", "_high")
_COLUMNS = frozenset((*(column.name for column in fields(Row)), *dir(Row)))


@dataclass(frozen=True, kw_only=True)
class Extra:
    """One such value of a row as text, accuracies in percent; `interval` is empty without one."""

    name: str
    text: str
    interval: str = ""


def extra_names(rows: Iterable[Row]) -> tuple[str, ...]:
    """Names of the values in `Row.extra`, without columns and ends of intervals, sorted."""
    return _without_ends(extra_keys(rows))


def extra_keys(rows: Iterable[Row]) -> set[str]:
    """All names in `Row.extra` but those of columns, which a stranger's file may contain there."""
    return Rows.of(rows).names_in("extra") - _COLUMNS


def extras_of(row: Row) -> tuple[Extra, ...]:
    """The values of a row, sorted by name."""
    return tuple(
        Extra(name=printable(name), text=_shown(name, row.extra[name]), interval=_interval(row, name))
        for name in _without_ends({*row.extra} - _COLUMNS)
    )


def value_of(row: Row, name: str) -> float | None:
    """A number of a row: of its column of this name, else in `Row.extra`; None if absent."""
    value: float | None = getattr(row, name, row.extra.get(name))
    return value


def is_share(name: str) -> bool:
    """Whether a value, of which only the name is known, is a fraction, to be shown in percent."""
    return "accuracy" in name


def _without_ends(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if not _is_end(name, names)))


def _is_end(name: str, names: set[str]) -> bool:
    bases = [name.removesuffix(end) for end in _ENDS if name.endswith(end)]
    return any(base in names or base in _COLUMNS for base in bases)


def _interval(row: Row, name: str) -> str:
    ends = [row.extra.get(name + end) for end in _ENDS]
    return "" if None in ends else "[" + ", ".join(_shown(name, end) for end in ends if end is not None) + "]"


def _shown(name: str, value: float) -> str:
    return f"{100 * value:.2f} %" if is_share(name) else number(float(value))
