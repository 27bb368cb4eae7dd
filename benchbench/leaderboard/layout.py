"""A table as data: what the text formats and the terminal need to show it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        key: for programs; the leaderboard's column where there is one (``test_accuracy``).
        label: for people (``test accuracy``).
        unit: of the text (``%``), or empty. Values are not scaled: accuracies are fractions.
        best: which value is the best one; empty where none is.
    """

    key: str
    label: str
    unit: str = ""
    align: Literal["left", "right"] = "left"
    best: Literal["highest", "lowest", ""] = ""

    @property
    def heading(self) -> str:
        """Label with unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The content of one line in one column.

    Attributes:
        value: unrounded, in the units of the leaderboard; None where there is none.
        text: as shown, in several lines where it contains newlines.
        best: whether it is the best of its group, ties included, and shown bold.
        low: lower end of the value's 95% interval; likewise `high`.
        verdict: of a comparison with a published value, one of `benchbench.reproduction.verdicts`; empty where none is made.
    """

    value: str | float | None
    text: str
    best: bool = False
    low: float | None = None
    high: float | None = None
    verdict: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line: an entry for each column of the table.

    Attributes:
        source: ``"measured"`` or ``"published"``.
        status: ``"ok"``, ``"failed"`` or ``"not run"``.
        flags: diagnostics that cast doubt on it.
        reference: identifies the published line that it is compared with; empty for none.
    """

    entries: tuple[Entry, ...]
    cell_id: str
    source: str
    status: str
    flags: tuple[str, ...] = ()
    reference: str = ""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Lines that may be compared: one setting, one profile. `attributes` gives the setting as (column, value)."""

    label: str
    attributes: tuple[tuple[str, str | float], ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A titled table of groups of lines."""

    title: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> Iterator[Line]:
        """All lines, group after group."""
        return (line for group in self.groups for line in group.lines)
