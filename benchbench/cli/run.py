"""``benchbench run``: the main job."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from benchbench.cli import INTERRUPTED
from benchbench.cli.display import progress_display
from benchbench.cli.options import device_option, folder_options, json_option, selection_options, suite_option
from benchbench.cli.printing import note, print_json
from benchbench.cli.table import print_rows


@click.command(name="run")
@suite_option
@selection_options
@device_option
@folder_options
@click.option("--download", is_flag=True, help="Fetch missing datasets.")
@click.option("--fresh", is_flag=True, help="Compute every cell anew.")
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def command(
    suite: str,
    profile: str | None,
    only: tuple[str, ...],
    seeds: tuple[int, ...],
    device: str | None,
    data: Path | None,
    runs: Path | None,
    leaderboards: Path | None,
    download: bool,
    fresh: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Train, attack and measure the cells of a suite, keep its leaderboard, and print the table.

    Cells that are done are not computed again; an interrupted run goes on with the same command. Exit status: 0 done,
    1 some cells failed, 2 usage or suite error, 130 interrupted.
    """
    from benchbench.api import run, summarise

    try:
        with progress_display(quiet=quiet) as listener:
            result = run(
                suite,
                profile=profile,
                only=only,
                seeds=seeds,
                device=device,
                data=data,
                runs=runs,
                leaderboards=leaderboards,
                download=download,
                fresh=fresh,
                listener=listener,
            )
    except KeyboardInterrupt:
        note("interrupted: finished cells and checkpoints are kept; the same command goes on from here")
        return INTERRUPTED
    if as_json:
        print_json({**summarise(result), "rows": [dataclasses.asdict(row) for row in result.rows]})
    else:
        print_rows(result.rows)
        if not result.rows:
            note("no rows to show: see above why")
        note(f"leaderboard: {result.leaderboard}")
    return 1 if result.failed else 0
