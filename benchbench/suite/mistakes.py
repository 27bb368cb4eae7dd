"""Collect every mistake of a suite, each with its place and line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchbench.errors import BenchbenchError, Problem, suggest
from benchbench.registry.options import convert
from benchbench.registry.problems import InvalidOptionsError, Place, location
from benchbench.registry.wording import shown
from benchbench.suite.lines import nearest_line


class Mistakes:
    """The mistakes found so far; `lines` has the line of each entry of the file."""

    def __init__(self, lines: Mapping[Place, int]) -> None:
        self._lines = lines
        self._problems: dict[Problem, None] = {}  # each once, in the order found

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The mistakes in the order of the file."""
        return tuple(sorted(self._problems, key=lambda problem: problem.line or 0))

    def add(self, place: Place, message: str, hint: str = "") -> None:
        """Note a mistake."""
        line = nearest_line(self._lines, place)
        self._problems[Problem(location=location(place), message=message, hint=hint, line=line)] = None

    def add_error(self, place: Place, error: BenchbenchError) -> None:
        """Note an error about an entry; wrong options become one mistake each."""
        if isinstance(error, InvalidOptionsError):
            for problem in error.problems:
                self.add((*place, *problem.place), problem.message, problem.hint)
        else:
            self.add(place, error.message, error.hint)

    def check_keys(self, table: Mapping[str, object], place: Place, known: Sequence[str]) -> None:
        """Note the unknown keys of a table."""
        for key in table:
            if key not in known:
                self.add((*place, key), "unknown key", suggest(key, known))

    def read(
        self, table: Mapping[str, object], key: str, place: Place, annotation: object, default: object = None
    ) -> Any:
        """An entry converted to a type; the default if it is missing or wrong."""
        if key not in table:
            return default
        try:
            return convert(annotation, table[key])
        except BenchbenchError as error:
            self.add_error((*place, key), error)
            return default

    def table(self, table: Mapping[str, object], key: str, place: Place) -> Mapping[str, object]:
        """A table within a table; empty if it is missing or not a table."""
        value = table.get(key, {})
        if isinstance(value, dict):
            return value
        self.add((*place, key), f"expected a table, got {shown(value)}")
        return {}

    def tables(self, table: Mapping[str, object], key: str, place: Place) -> list[tuple[Mapping[str, object], Place]]:
        """The tables of an array of tables, each with its place."""
        value = table.get(key, [])
        if not isinstance(value, list):
            self.add((*place, key), f"expected a list of tables ([[{key}]]), got {shown(value)}")
            return []
        found: list[tuple[Mapping[str, object], Place]] = []
        for position, entry in enumerate(value):
            if isinstance(entry, dict):
                found.append((entry, (*place, key, position)))
            else:
                self.add((*place, key, position), f"expected a table, got {shown(entry)}")
        return found
