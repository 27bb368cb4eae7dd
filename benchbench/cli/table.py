"""``benchbench table``: a leaderboard as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table as RichTable
from rich.text import Text

from benchbench.cli.printing import print_json, print_rich
from benchbench.errors import StorageError, UsageError, suggest
from benchbench.settings import find_folders

if TYPE_CHECKING:
    from benchbench.leaderboard import Entry, Table
    from benchbench.records import Row

FORMATS = ("rich", "markdown", "latex", "csv", "json", "html")


@click.command(name="table")
@click.argument("suite")
@click.option("--table", "number", default="", metavar="N", help="Only the settings of this table of the paper.")
@click.option(
    "--paper",
    default="neurips2020",
    type=click.Choice(["neurips2020", "arxiv-v1"]),
    help="Whose numbers stand beside ours.",
)
@click.option("--profile", metavar="NAME", help="Only rows of this profile.")
@click.option("--published", is_flag=True, help="Show the published numbers beside ours.")
@click.option("--intervals", is_flag=True, help="Show 95% intervals.")
@click.option("--format", "output", default="rich", type=click.Choice(FORMATS), help="How to print it.")
@click.option(
    "--leaderboards", type=click.Path(file_okay=False, path_type=Path), help="Folder of the Parquet leaderboards."
)
def command(
    suite: str,
    number: str,
    paper: str,
    profile: str | None,
    published: bool,
    intervals: bool,
    output: str,
    leaderboards: Path | None,
) -> None:
    """Print the leaderboard of SUITE (a name, or a Parquet file) in the papers' style."""
    from benchbench.leaderboard import paper_tables, published_rows, read_rows

    path = (
        Path(suite)
        if suite.endswith(".parquet")
        else find_folders(leaderboards=leaderboards).leaderboards / f"{suite}.parquet"
    )
    rows = read_rows(path) if path.exists() else list(published_rows(suite))
    if not rows:
        raise StorageError(f"there is no leaderboard {path}", hint=f"benchbench run --suite {suite} writes one")
    if profile is not None:
        _check_profile(profile, rows)
    chosen = [row for row in rows if profile is None or row.profile == profile or row.source == "published"]
    shown = published or bool(number)
    tables = paper_tables(chosen, published=shown, paper=paper, number=number, intervals=intervals)
    if not tables:
        tables = paper_tables(chosen, published=True, paper=paper, number=number, intervals=intervals)
    if not tables:
        tables_there = {row.published_table for row in rows if row.published_source == paper}
        hint = (
            suggest(number, tables_there) if tables_there else "this suite has no published numbers: leave --table out"
        )
        raise UsageError(f"{path} has nothing of table {number!r} of {paper}", hint=hint)
    print_tables(tables, output)


def _check_profile(profile: str, rows: Sequence[Row]) -> None:
    known = {row.profile for row in rows}
    if profile not in known:
        raise UsageError(f"no row has the profile {profile!r}", hint=suggest(profile, known))


def print_rows(rows: Sequence[Row]) -> None:
    """Print rows as the paper-style tables on the terminal."""
    from benchbench.leaderboard import paper_tables

    print_tables(paper_tables(rows), "rich")


def print_tables(tables: Sequence[Table], output: str) -> None:
    """Print tables in one of the formats."""
    from benchbench.leaderboard import render, table_document

    if output == "json":
        print_json([table_document(table) for table in tables])
    elif output == "rich":
        for table in tables:
            _print_rich(table)
    else:
        click.echo("\n\n".join(render(table, output) for table in tables))


def _print_rich(table: Table) -> None:
    print_rich(Text(table.title, style="bold"))
    for group in table.groups:
        shown = RichTable(header_style="bold", box=None, pad_edge=False)
        for column in table.columns:
            shown.add_column(
                Text(column.heading), justify="right" if column.align == "right" else "left", overflow="fold"
            )
        for line in group.lines:
            shown.add_row(*(_styled(entry) for entry in line.entries))
        print_rich(Text(""), Text(group.label), shown)
    for remark in table.notes:
        print_rich(Text(remark, style="dim"))


def _styled(entry: Entry) -> Text:
    return Text(entry.text, style="bold" if entry.best else "")
