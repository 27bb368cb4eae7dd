"""``benchbench status``: how far a suite is."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import click

from benchbench.cli import options
from benchbench.cli.printing import note, print_json, print_table, say
from benchbench.collector import collector_paused


@click.command(name="status")
@options.suite_argument
@options.selection_options
@options.device_option
@options.folder_options
@options.json_option
@collector_paused()
def command(suite: str, leaderboards: Path | None, as_json: bool, **selection: Unpack[options.Selection]) -> None:
    """Show which cells of a suite are pending, running, done or failed.

    It reads the runs folder and needs no executor and no scheduler: it works for every run that shares the folder, on any
    machine, also after 'benchbench run' was interrupted. It also updates the leaderboard, so that 'benchbench table' shows the
    finished cells.
    """
    from benchbench.running.status import find_status, summarise_status

    status = find_status(suite, leaderboards=leaderboards, **selection)
    if as_json:
        print_json(summarise_status(status))
        return
    say(f"{status.suite}, {status.profile} profile: " + ", ".join(f"{n} {s}" for s, n in status.counts.items()))
    shown = [c for c in status.cells if c.state in ("running", "failed") or (c.state == "done" and c.detail)]
    if shown:
        print_table(("state", "cell", "detail"), [(cell.state, cell.label, cell.detail) for cell in shown])
    note(f"leaderboard: {status.leaderboard}")
