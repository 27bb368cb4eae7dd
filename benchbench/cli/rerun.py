"""``benchbench rerun``: recompute a recorded cell and compare."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Unpack

import click

from benchbench.cli.display import progress_display
from benchbench.cli.options import Replay, json_option, own_option, quiet_option, replay_options
from benchbench.cli.printing import print_json, print_table, say


@click.command(name="rerun")
@click.argument("cell")
@click.option(
    "--leaderboard",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Take the row from this Parquet file instead of the runs folder.",
)
@own_option
@replay_options
@quiet_option
@json_option
def command(
    cell: str,
    leaderboard: Path | None,
    architecture: str | None,
    quiet: bool,
    as_json: bool,
    **where: Unpack[Replay],
) -> int:
    """Recompute CELL (an id, or its beginning) in a temporary folder; compare it with its row.

    It reports whether the result is bit-identical, within tolerance or drifted, and what has changed since: versions, code,
    device, data. A model that was trained elsewhere is evaluated again, never trained. Records are not changed. Exit status: 0
    bit-identical or within tolerance; 1 drifted, or the cell fails now; 2 usage error.
    """
    from benchbench.checking.rerunning import rerun

    with progress_display(quiet=quiet) as listener:
        result = rerun(cell, leaderboard=leaderboard, architecture=architecture, listener=listener, **where)
    if as_json:
        print_json(dataclasses.asdict(result))
    else:
        say(f"cell {result.cell_id}: {result.verdict}")
        differences = [(d.column, d.recorded, d.now, "yes" if d.tolerated else "no") for d in result.differences]
        if differences:
            print_table(("measure", "recorded", "now", "within tolerance"), differences)
        for kind in result.unequal_files:
            say(f"{kind}: not equal")
        if result.changes:
            print_table(("changed", "recorded", "now"), [(name, *pair) for name, pair in result.changes.items()])
        else:
            say("versions, code, device, commit and data are as they were")
    return 1 if result.verdict == "drifted" else 0
