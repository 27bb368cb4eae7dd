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


def as_text(title: str, columns: Sequence[str], lines: Sequence[Sequence[object]], *, most: int = 20) -> str:
    """A titled table of `printable` text, of its first `most` lines."""
    from tabulate import tabulate  # here, so that an import of benchbench is fast

    more = f"and {len(lines) - most:,} more" if len(lines) > most else ""
    table = tabulate(_printable(lines[:most]), columns, disable_numparse=True)
    return "\n".join(filter(None, [printable(title), table, more]))


def as_html(title: str, columns: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A titled table as HTML."""
    from tabulate import tabulate

    table = tabulate(_printable(lines), columns, tablefmt="html", disable_numparse=True)
    return f"<p>{html.escape(printable(title))}</p>{table}"


def _printable(lines: Sequence[Sequence[object]]) -> list[list[str]]:
    return [[printable(str(cell)) for cell in line] for line in lines]
