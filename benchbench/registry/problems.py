"""The mistakes in the options of a component: each with its place, all in one error."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from benchbench.errors import OptionError

Place = tuple[str | int, ...]  # keys and positions, for instance ("base", "scale") or ("experiments", 0, "threat")


@dataclass(frozen=True, kw_only=True)
class OptionProblem:
    """One wrong option; the place of a nested one has the names of the outer options first."""

    place: Place
    message: str
    hint: str = ""

    @property
    def option(self) -> str:
        """The place as a dotted path."""
        return location(self.place)

    def within(self, *outer: str | int) -> OptionProblem:
        """The same problem with its place below outer ones."""
        return dataclasses.replace(self, place=(*outer, *self.place))


class InvalidOptionsError(OptionError):
    """Every wrong option of one component, reported together."""

    def __init__(self, owner: str, problems: Sequence[OptionProblem]) -> None:
        self.owner = owner
        self.problems = tuple(problems)
        parts = [f"{p.option}: {p.message}" + (f" ({p.hint})" if p.hint else "") for p in self.problems]
        super().__init__(f"{owner}: " + "; ".join(parts))


def location(place: Place) -> str:
    """A place as a dotted path, for instance ``experiments[0].defenses[2].beta``.

    >>> location(("experiments", 0, "threat", "norm"))
    'experiments[0].threat.norm'
    """
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")
