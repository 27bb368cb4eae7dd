"""``benchbench table``: a leaderboard as a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.table import Table as RichTable
from rich.text import Text

from benchbench.cli.options import FOLDER, leaderboards_option, only_option, reserving, suite_argument
from benchbench.cli.printing import (
    least_width,
    line_width,
    note,
    print_pieces,
    print_rich,
    say,
    say_lines,
    shows_styles,
)
from benchbench.collector import collector_paused
from benchbench.escaping import printable, printable_lines

if TYPE_CHECKING:
    from benchbench.leaderboard import Entry, Group, Table
    from benchbench.records import Row

MOST_LINES = 500  # of a table on the terminal, which shows nobody more
_NAMES = ("defense", "reference", "dataset", "source")  # columns that identify a line
PAPERS = ("neurips2020", "arxiv-v1")  # not imported, so that --help loads no leaderboard
FORMATS = ("rich", "markdown", "latex", "latex-document", "csv", "json", "html")


@click.command(name="table")
@suite_argument
@click.option(
    "--table", "number", default="", metavar="N", help="Compare with this table of the paper, number by number."
)
@click.option("--paper", default=PAPERS[0], type=click.Choice(PAPERS), help="The paper to compare with.")
@click.option("--profile", metavar="NAME", help="Only rows of this profile.")
@click.option("--published", is_flag=True, help="Show the published numbers beside ours.")
@click.option("--intervals", is_flag=True, help="Show 95% intervals.")
@click.option("--extra", multiple=True, metavar="NAME", help="Also show this value of a metric; repeatable.")
@click.option("--each-seed", is_flag=True, help="One line for each seed; by default means and deviations over seeds.")
@only_option
@click.option("--sort", default="", metavar="COLUMN", help="Sort the lines of each group by a column, best first.")
@click.option("--format", "output", default="rich", type=click.Choice(FORMATS), help="Output format.")
@click.option(
    "--pages", type=FOLDER, help="Write the reproduction report, one page per table of both papers, into this folder."
)
@leaderboards_option
@reserving("output", "json")
@collector_paused()
def command(
    suite: str,
    number: str,
    paper: str,
    profile: str | None,
    published: bool,
    intervals: bool,
    extra: tuple[str, ...],
    each_seed: bool,
    only: tuple[str, ...],
    sort: str,
    output: str,
    pages: Path | None,
    leaderboards: Path | None,
) -> None:
    """Print the leaderboard of SUITE (a name, or a Parquet file) in the papers' style."""
    from benchbench.cell.selection import parse_only
    from benchbench.reproduction.lookup import evidence_of, find_rows, make_tables

    rows, path = find_rows(suite, profile, leaderboards, parse_only(only))
    if pages is not None:
        from benchbench.reproduction import write_pages

        note(f"{len(write_pages(pages, evidence_of(rows, path)))} pages in {pages}")
        return
    how = {"intervals": intervals, "each_seed": each_seed, "sort": sort}
    how["most"] = MOST_LINES if output == "rich" else None
    print_tables(make_tables(rows, path, number, paper, published=published, extra=extra, **how), output)


def print_rows(rows: Sequence[Row], path: Path) -> None:
    """Print rows of a leaderboard file as tables in the papers' style."""
    from benchbench.leaderboard import paper_tables
    from benchbench.leaderboard.rebuilding import describe_failed_attempts

    print_tables(paper_tables(rows, notes=describe_failed_attempts(path, rows), most=MOST_LINES), "rich")


def print_tables(tables: Sequence[Table], output: str) -> None:
    """Print tables in one of the formats."""
    from benchbench.leaderboard import render_all, table_document
    from benchbench.leaderboard.formats import DEPTH_OF_ROWS, json_pieces

    if output == "json":
        print_pieces(chain(json_pieces([table_document(table) for table in tables], DEPTH_OF_ROWS), "\n"))
    elif output == "rich":
        for table in tables:
            _print_rich(table)
    else:
        say_lines(render_all(tables, output))


def _print_rich(table: Table) -> None:
    from benchbench.leaderboard.notes import BOLD

    print_rich(Text(printable(table.title), style="bold"))
    for group in table.groups:
        width = line_width()
        blocks = [_grid(table, group, places, width) for places in _blocks(table, group, width)]
        print_rich(Text(""), Text(printable(group.label)), *blocks)
    for remark in table.notes if shows_styles() else (one for one in table.notes if one != BOLD):
        print_rich(Text(printable(remark), style="dim"))
    if table.left_out:
        say(f"{table.left_out:,} more rows: --format csv, json, markdown, html or latex prints all of them")


def _grid(table: Table, group: Group, places: Sequence[int], width: int) -> RichTable:
    shown = RichTable(header_style="bold", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    spare = width - sum(least_width(_texts(table, group, place)) + 1 for place in places) + 1
    whole = sum(_natural(table, group, place) + 1 for place in places) - 1 <= width
    for place in places:
        column, least = table.columns[place], least_width(_texts(table, group, place))
        wanted = _natural(table, group, place) - least
        wider = max(0, min(spare, wanted)) if whole or column.align == "left" else 0
        spare -= wider
        justify: Literal["left", "right"] = "right" if column.align == "right" else "left"
        shown.add_column(Text(printable(column.heading)), justify=justify, overflow="fold", width=least + wider)
    for line in group.lines:
        shown.add_row(*(_styled(line.entries[place]) for place in places))
    return shown


def _blocks(table: Table, group: Group, width: int) -> list[list[int]]:
    """Split the columns into blocks that fit the width; each begins with those of `_NAMES`."""
    names = [place for place, column in enumerate(table.columns) if column.key in _NAMES]
    taken = sum(least_width(_texts(table, group, place)) + 1 for place in names)
    blocks: list[list[int]] = [[]]
    left = width - taken
    for place in range(len(names), len(table.columns)):
        least = least_width(_texts(table, group, place)) + 1
        if blocks[-1] and least > left + 1:  # the last one needs no space after it
            blocks.append([])
            left = width - taken
        blocks[-1].append(place)
        left -= least
    return [[*names, *block] for block in blocks]


def _natural(table: Table, group: Group, place: int) -> int:
    """Width of a column that breaks no line."""
    return max(len(line) for text in _texts(table, group, place) for line in text.split("\n"))


def _texts(table: Table, group: Group, place: int) -> list[str]:
    return [
        printable(table.columns[place].heading),
        *(printable_lines(line.entries[place].text) for line in group.lines),
    ]


def _styled(entry: Entry) -> Text:
    text = Text(printable_lines(entry.text))
    if entry.best:  # without its interval and verdict, which are on further lines
        text.stylize("bold", 0, len(entry.text.partition("\n")[0]))
    return text
