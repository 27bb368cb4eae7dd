"""``benchbench status``: how far a suite is, whoever computes it."""

from __future__ import annotations

from pathlib import Path

import click

from benchbench.cli.options import device_option, folder_options, json_option, selection_options, suite_option
from benchbench.cli.printing import note, print_json, print_table


@click.command(name="status")
@suite_option
@selection_options
@device_option
@folder_options
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
    as_json: bool,
) -> None:
    """Show which cells of a suite are pending, running, done or failed, from the runs folder alone.

    It asks no executor and no scheduler: it works for every run that shares the folder, on whichever machine, also after
    'benchbench run' was interrupted. The leaderboard is brought up to date, so that 'benchbench table' shows what is there.
    """
    from benchbench.running.status import find_status, summarise_status

    status = find_status(
        suite,
        profile=profile,
        only=only,
        seeds=seeds,
        device=device,
        data=data,
        runs=runs,
        leaderboards=leaderboards,
    )
    if as_json:
        print_json(summarise_status(status))
        return
    click.echo(f"{status.suite}, {status.profile} profile: " + ", ".join(f"{n} {s}" for s, n in status.counts.items()))
    shown = [
        cell for cell in status.cells if cell.state in ("running", "failed") or (cell.state == "done" and cell.detail)
    ]
    print_table(("state", "cell", "detail"), [(cell.state, cell.label, cell.detail) for cell in shown])
    note(f"leaderboard: {status.leaderboard}")
