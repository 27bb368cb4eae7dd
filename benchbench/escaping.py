"""Make text from files safe to print: it steers no terminal and forges no line."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence


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


Lines = Sequence[Sequence[object]]


def as_text(
    title: str,
    columns: Sequence[str],
    lines: Lines,
    *,
    most: int = 20,
    form: str = "simple",
    remarks: Sequence[str] = (),
) -> str:
    """A titled table of `printable` text, of its first `most` lines."""
    from tabulate import tabulate  # here, so that an import of benchbench is fast

    shown = [[printable(str(cell)) for cell in line] for line in lines[:most]]
    more = [f"and {len(lines) - most:,} more"] if len(lines) > most else []
    table = tabulate(shown, [*map(printable, columns)], tablefmt=form, disable_numparse=True)
    before, after = [printable(title)] if title else [], [*map(printable, [*more, *remarks])]
    if form == "html":
        before, after = ([f"<p>{html.escape(one)}</p>" for one in texts] for texts in (before, after))
    return "\n".join([*before, table, *after])


def as_html(title: str, columns: Sequence[str], lines: Lines, *, most: int = 1000, remarks: Sequence[str] = ()) -> str:
    """The same as HTML."""
    return f"<div>{as_text(title, columns, lines, most=most, form='html', remarks=remarks)}</div>"
