"""Line numbers in TOML documents."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from benchbench.suite.lines import Place, find_lines, nearest_line

SUITES = Path(__file__).parents[2] / "benchbench" / "builtin" / "suites"

EVERYTHING = '''\
plain = 1 # [not.a.table]
text = "a # no comment = [x]"
literal = 'c:\\'
"quoted key" = true
dotted.inner.key = 1979-05-27 07:32:00
long = """
[fake]
key = 1 \\"""
"""
long_literal = \'\'\'
[[fake]]\'\'\'
list = [ # comment with ]
    "one", [2, 3],
    { name = "x", options = [4,
        5] },
]

[table]
key = 1
[table.sub]
key = {a.b = 1, c = {d = 2}}

[[many]]
name = "first"
[[many.inner]]
x = 1
[[many.inner]]
x = 2
[many.inner.deep]
y = 3

[[many]]
name = "second"
  [[many.inner]]
  x = 4
'''


@pytest.mark.parametrize(
    ("place", "fragment"),
    [
        (("plain",), "plain ="),
        (("text",), "text ="),
        (("literal",), "literal ="),
        (("quoted key",), '"quoted key"'),
        (("dotted", "inner", "key"), "dotted."),
        (("long",), 'long = "'),
        (("long_literal",), "long_literal"),
        (("list", 0), '"one"'),
        (("list", 1, 1), '"one"'),
        (("list", 2, "name"), '{ name = "x"'),
        (("list", 2, "options", 1), "5] }"),
        (("table",), "[table]"),
        (("table", "sub", "key", "c", "d"), "key = {a.b"),
        (("many", 0, "name"), '"first"'),
        (("many", 0, "inner", 0, "x"), "x = 1"),
        (("many", 0, "inner", 1, "x"), "x = 2"),
        (("many", 0, "inner", 1, "deep", "y"), "y = 3"),
        (("many", 1, "name"), '"second"'),
        (("many", 1, "inner", 0, "x"), "x = 4"),
    ],
)
def test_line_of_each_kind_of_entry(place: Place, fragment: str) -> None:
    assert find_lines(EVERYTHING)[place] == EVERYTHING[: EVERYTHING.index(fragment)].count("\n") + 1


def places_of(value: Any, place: Place = ()) -> list[Place]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(deeper for key, inner in entries for deeper in places_of(inner, (*place, key)))]


@pytest.mark.parametrize("text", [EVERYTHING, *(path.read_text() for path in sorted(SUITES.glob("*.toml")))])
def test_every_entry_of_a_document_has_a_line(text: str) -> None:
    lines = find_lines(text)
    assert [place for place in places_of(tomllib.loads(text)) if place and place not in lines] == []
    assert set(lines) == set(places_of(tomllib.loads(text))) - {()}


def test_windows_line_ends_count_once() -> None:
    assert find_lines(EVERYTHING.replace("\n", "\r\n")) == find_lines(EVERYTHING)


def test_missing_entry_is_reported_at_the_entry_around_it() -> None:
    lines = find_lines("a = 1\n[b]\nc = 2\n")
    assert nearest_line(lines, ("b", "absent", 3)) == 2
    assert nearest_line(lines, ("absent",)) is None


@pytest.mark.parametrize("text", ["= 1", "a = ", "a = [1", "[x", 'a = "', "a = {b = 1", "a b", "[[x]", "\x00"])
def test_scan_of_something_invalid_ends(text: str) -> None:
    assert isinstance(find_lines(text), dict)
