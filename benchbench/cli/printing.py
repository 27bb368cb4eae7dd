"""Print tables and notes on the terminal, or one JSON document."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from itertools import zip_longest

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

UNWRAPPED = 100_000  # columns: lines in a file or a pipe are never wrapped


def print_json(value: object) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Collection[str] = ()) -> None:
    """Print a plain table on standard output; columns in `right` are aligned to the right."""
    if not Console().is_terminal:
        click.echo(_aligned(columns, [[Text(str(cell)).plain for cell in row] for row in rows], right))
        return
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in right else "left")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # Text, because rich would interpret markup in strings
    print_rich(table)


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str]) -> str:
    """Lines of columns two spaces apart, equal to rich's and a hundred times as fast."""
    cells = [[cell.split("\n") for cell in row] for row in (columns, *rows)]
    widths = [max(cell_len(line) for row in cells for line in row[place]) for place in range(len(columns))]
    lines = []
    for row in cells:
        for parts in zip_longest(*row, fillvalue=""):
            spaces = [" " * (width - cell_len(part)) for width, part in zip(widths, parts)]
            padded = [s + part if name in right else part + s for name, s, part in zip(columns, spaces, parts)]
            lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def line_width() -> int:
    """Characters on a line of standard output: the terminal's width, or `UNWRAPPED`."""
    console = Console()
    return console.width if console.is_terminal else UNWRAPPED


def print_rich(*blocks: Table | Text) -> None:
    """Print tables and texts on standard output, wrapped on a terminal only."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(*blocks, sep="\n")
        return
    wide = Console(highlight=False, width=UNWRAPPED)
    with wide.capture() as captured:
        wide.print(*blocks, sep="\n")
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def note(message: str) -> None:
    """Print a note on standard error."""
    click.echo(message, err=True)
