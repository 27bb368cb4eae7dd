"""``benchbench rerun``: recompute a recorded cell and compare."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from benchbench.cli.display import progress_display
from benchbench.cli.options import data_option, device_option, json_option
from benchbench.cli.printing import print_json, print_table


@click.command(name="rerun")
@click.argument("cell")
@click.option(
    "--runs",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of records; default below BENCHBENCH_HOME.",
)
@click.option(
    "--leaderboard",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Take the row from this Parquet file instead.",
)
@data_option
@device_option
@click.option("--download", is_flag=True, help="Fetch missing datasets.")
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def command(
    cell: str,
    runs: Path | None,
    leaderboard: Path | None,
    data: Path | None,
    device: str | None,
    download: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Recompute CELL (its id, or the beginning of it) from its row, in a temporary folder, and say whether it is
    bit-identical, within tolerance or drifted, and what has changed since: versions, code, device, data.

    Nothing that is recorded changes. Exit status: 0 bit-identical or within tolerance, 1 drifted or it fails now,
    2 usage error.
    """
    from benchbench.checking.rerunning import rerun

    with progress_display(quiet=quiet) as listener:
        result = rerun(
            cell,
            data=data,
            runs=runs,
            leaderboard=leaderboard,
            device=device,
            download=download,
            listener=listener,
        )
    if as_json:
        print_json(dataclasses.asdict(result))
    else:
        click.echo(f"cell {result.cell_id}: {result.verdict}")
        differences = [(d.column, d.recorded, d.now, "yes" if d.tolerated else "no") for d in result.differences]
        if differences:
            print_table(("measure", "recorded", "now", "within tolerance"), differences)
        for kind in result.unequal_files:
            click.echo(f"{kind}: not equal")
        if result.changes:
            print_table(("changed", "recorded", "now"), [(name, *pair) for name, pair in result.changes.items()])
        else:
            click.echo("versions, code, device, commit and data are as they were")
    return 1 if result.verdict == "drifted" else 0
