"""A table as data: what the text formats and the terminal need to show it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column."""

    key: str  # for programs; the leaderboard's column where there is one (``test_accuracy``)
    label: str  # for people (``test accuracy``)
    unit: str = ""  # of the text (``%``), or empty; values are not scaled: accuracies are fractions
    align: Literal["left", "right"] = "left"
    best: Literal["highest", "lowest", ""] = ""  # which value is the best one; empty where none is

    @property
    def heading(self) -> str:
        """Label with unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


class Entry(NamedTuple):
    """The content of one line in one column; a tuple, as a table may have a million."""

    value: str | float | None  # unrounded, in the units of the leaderboard; None where there is none
    text: str  # as shown, in several lines where it contains newlines
    best: bool = False  # of its group, ties included; shown bold
    low: float | None = None  # ends of the value's 95% interval
    high: float | None = None
    deviation: float | None = None  # standard deviation over seeds, where the value is their mean
    verdict: str = ""  # one of `benchbench.reproduction.verdicts`; empty without comparison to a published value


class Line(NamedTuple):
    """One line: an entry for each column of the table."""

    entries: tuple[Entry, ...]
    cell_id: str  # of several seeds those of all, joined by semicolons
    source: str  # "measured" or "published"
    status: str  # "ok", "failed" or "not run"; "ok" if some seeds failed, and others did not
    flags: tuple[str, ...] = ()
    reference: str = ""  # id of the published line that it is compared with; empty for none


@dataclass(frozen=True, kw_only=True)
class Group:
    """Comparable lines of one setting and profile; `attributes` are its (column, value) pairs."""

    label: str
    attributes: tuple[tuple[str, str | float | None], ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A titled table of groups of lines."""

    title: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()
    left_out: int = 0  # lines that were to be left out because there are too many

    @property
    def lines(self) -> Iterator[Line]:
        """All lines, group after group."""
        return (line for group in self.groups for line in group.lines)
