"""Print tables, notes and JSON documents; text from files is escaped here."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import Literal, TextIO

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchbench.escaping import printable, printable_json, printable_lines

WIDEST_WORD = 20  # characters: longer words break on a narrow terminal
UNWRAPPED = 100_000  # columns: lines in a file or a pipe are never wrapped
_reserved: ContextVar[TextIO | None] = ContextVar("reserved standard output", default=None)


def print_json(value: object) -> None:
    """Print one JSON document on standard output."""
    print_pieces([json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False), "\n"])


def print_pieces(pieces: Iterable[str]) -> None:
    """Print a JSON document that comes in pieces; what standard output cannot encode is escaped."""
    stream = _reserved.get() or sys.stdout
    every_sign = (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")
    for piece in map(printable_json, pieces):
        stream.write(piece if every_sign else "".join(c if c.isascii() else json.dumps(c)[1:-1] for c in piece))
    stream.flush()


@contextmanager
def reserved_output() -> Iterator[None]:
    """Reserve standard output for `print_json`; plugins print on standard error meanwhile."""
    output = sys.stdout
    with ExitStack() as stack:
        if _descriptor(output) == 1:
            output.flush()
            kept = os.dup(1)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 1)
            os.dup2(2, 1)
            output = stack.enter_context(open(kept, "w", encoding=output.encoding, errors=output.errors, closefd=False))
        token = _reserved.set(output)
        stack.callback(_reserved.reset, token)
        stack.enter_context(redirect_stdout(sys.stderr))
        yield


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Collection[str] = ()) -> None:
    """Print a plain table on standard output; columns in `right` are aligned to the right."""
    texts = [[printable(str(cell)) for cell in row] for row in (columns, *rows)]
    if not Console().is_terminal:
        click.echo("\n".join(_aligned(texts, [name in right for name in columns])))
        return
    least = [least_width(column) for column in zip(*texts)]
    fits = sum(least) + 2 * (len(least) - 1) <= Console().width  # otherwise rich would cut the last columns
    table = Table(header_style="bold", box=None, pad_edge=False)
    for name, width in zip(texts[0], least):
        justify: Literal["left", "right"] = "right" if name in right else "left"
        table.add_column(Text(name), overflow="fold", justify=justify, min_width=width if fits else None)
    for row in texts[1:]:
        table.add_row(*map(Text, row))  # Text: rich would interpret markup in strings
    print_rich(table)


def least_width(texts: Iterable[str]) -> int:
    """Width of a column that breaks no word of up to `WIDEST_WORD` characters."""
    return min(WIDEST_WORD, max((len(word) for text in texts for word in text.split()), default=0))


def _aligned(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> Iterator[str]:
    """Lines of columns two spaces apart, as of rich, which is slow for thousands of lines."""
    widths = [max(cell_len(row[place]) for row in rows) for place in range(len(right))]
    for row in rows:
        spaces = [" " * (width - cell_len(cell)) for width, cell in zip(widths, row)]
        padded = [space + cell if last else cell + space for cell, space, last in zip(row, spaces, right)]
        yield "  ".join(padded).rstrip()


def line_width() -> int:
    """Characters on a line of standard output: the terminal's width, or `UNWRAPPED`."""
    console = Console()
    return console.width if console.is_terminal else UNWRAPPED


def shows_styles() -> bool:
    """Whether standard output shows bold text."""
    return Console().is_terminal


def print_rich(*blocks: Table | Text) -> None:
    """Print `printable` tables and texts on standard output, wrapped on a terminal only."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(*blocks, sep="\n")
        return
    wide = Console(highlight=False, width=UNWRAPPED)
    with wide.capture() as captured:
        wide.print(*blocks, sep="\n")
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def say(line: str = "") -> None:
    """Print one line on standard output."""
    click.echo(printable(line))


def say_lines(text: str) -> None:
    """Print a text that was made line by line on standard output."""
    click.echo(printable_lines(text))


def note(message: str) -> None:
    """Print a note, one line, on standard error."""
    click.echo(printable(message), err=True)


def complain(message: str) -> None:
    """Print an error on standard error; line breaks are escaped unless two spaces follow."""
    click.echo("\n".join(map(printable, re.split(r"\n(?=  )", message))), err=True)


def complain_of_usage(error: click.ClickException) -> None:
    """Print an error of click on standard error."""
    shown = io.StringIO()
    error.show(shown)
    click.echo(printable_lines(shown.getvalue()), err=True, nl=False)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):  # a test or a notebook has replaced the stream
        return None
