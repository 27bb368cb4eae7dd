"""Make text from files safe to print: it steers no terminal and forges no line."""

from __future__ import annotations

import json


def printable(text: str) -> str:
    r"""Text in one line: control characters, line breaks and marks of direction are escaped.

    >>> print(printable("mnist\nconfirmed \x1b[2J"))
    mnist\nconfirmed \x1b[2J
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def printable_lines(text: str) -> str:
    """`printable` for text whose line breaks are benchbench's own."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(document: str) -> str:
    """A JSON document with escapes for what is not `printable`; it means the same."""
    return "\n".join(
        line if line.isprintable() else "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in line)
        for line in document.split("\n")
    )
