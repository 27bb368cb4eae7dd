"""Find the line of each entry of a TOML document, which tomllib does not report.

The scan expects valid TOML, which the parser has accepted, and checks nothing. If it fails, lines are missing from messages.
"""

from __future__ import annotations

import bisect
import contextlib
import re
from collections.abc import Mapping

from benchbench.registry.problems import Place as Place

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


DEEPEST = 20  # keys and positions: what lies deeper has the line of its table, so that time and memory stay linear


class _LostError(Exception):
    """The scan does not understand the text."""


def find_lines(text: str) -> dict[Place, int]:
    """Map each table, key and array element of a valid TOML document to its line, from 1.

    >>> find_lines("a = 1\\n[[b]]\\nc = [2,\\n  3]\\n")[("b", 0, "c", 1)]
    4
    """
    scanner = _Scanner(text)
    with contextlib.suppress(_LostError, RecursionError):
        scanner.scan()
    return scanner.lines


def nearest_line(lines: Mapping[Place, int], place: Place) -> int | None:
    """The line of an entry, else that of the closest outer entry."""
    for length in range(len(place), 0, -1):
        if place[:length] in lines:
            return lines[place[:length]]
    return None


class _Scanner:
    """Scans a document and notes the lines of its entries."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Place, int] = {}
        self._text = text
        self._at = 0
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._last: dict[Place, int] = {}  # index of the last table of each array of tables

    def scan(self) -> None:
        """Scan the whole document."""
        table: Place = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> Place:
        line = self._line()
        repeated = self._text.startswith("[[", self._at)
        self._at += 2 if repeated else 1
        *parents, name = self._key()
        self._at += 2 if repeated else 1
        table = (*self._anchor(parents), name)[:DEEPEST]
        if repeated:
            self.lines.setdefault(table, line)
            self._last[table] = self._last.get(table, -1) + 1
            table = (*table, self._last[table])
        self.lines[table] = line
        return table

    def _anchor(self, parents: list[str]) -> Place:
        """The place of a header's parents; in an array of tables, the last table."""
        place: Place = ()
        for name in parents:
            place = (*place, name)[:DEEPEST]
            self.lines.setdefault(place, self._line())
            if place in self._last:
                place = (*place, self._last[place])
        return place

    def _pair(self, table: Place) -> None:
        line = self._line()
        place = table
        for name in self._key():
            place = (*place, name)[:DEEPEST]
            self.lines.setdefault(place, line)
        self._expect("=")
        self._value(place)

    def _key(self) -> list[str]:
        names = []
        while True:
            self._skip(_SPACE)
            quoted = _STRING.match(self._text, self._at)
            found = quoted or _BARE_KEY.match(self._text, self._at)
            if found is None:
                raise _LostError
            names.append(found.group()[1:-1] if quoted else found.group())
            self._at = found.end()
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return names
            self._at += 1

    def _value(self, place: Place) -> None:
        self._skip(_SPACE)
        opening = self._text[self._at : self._at + 1]
        if opening == "[":
            self._elements(place)
        elif opening == "{":
            self._members(place)
        else:
            found = (_STRING if opening in "\"'" else _SCALAR).match(self._text, self._at)
            if found is None:
                raise _LostError
            self._at = found.end()

    def _elements(self, place: Place) -> None:
        self._at += 1
        position = 0
        while not self._closes("]"):
            inner = (*place, position)[:DEEPEST]
            self.lines.setdefault(inner, self._line())
            self._value(inner)
            position += 1

    def _members(self, place: Place) -> None:
        self._at += 1
        while not self._closes("}"):
            self._pair(place)

    def _closes(self, bracket: str) -> bool:
        """Skip blanks and a comma; return whether the bracket comes next, and skip it."""
        self._skip(_BLANK)
        if self._text.startswith(",", self._at):
            self._at += 1
            self._skip(_BLANK)
        if self._text.startswith(bracket, self._at):
            self._at += 1
            return True
        if self._at >= len(self._text):
            raise _LostError
        return False

    def _expect(self, character: str) -> None:
        self._skip(_SPACE)
        if not self._text.startswith(character, self._at):
            raise _LostError
        self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _line(self) -> int:
        return bisect.bisect_left(self._breaks, self._at) + 1
