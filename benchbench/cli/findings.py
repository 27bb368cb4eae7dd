"""``benchbench findings``: what a suite, or its paper, states, judged from the rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from benchbench.cli.options import data_option, json_option, leaderboards_option, suite_argument
from benchbench.cli.printing import print_json


@click.command(name="findings")
@suite_argument
@click.option("--profile", metavar="NAME", help="Only rows of this profile; `published` for the published numbers.")
@leaderboards_option
@data_option
@json_option
def command(suite: str, profile: str | None, leaderboards: Path | None, data: Path | None, as_json: bool) -> None:
    """Judge each finding that SUITE states: supported, contradicted, undecided or not run.

    For closer-look it also tries Theorem 4.2 numerically, on the spiral, which `benchbench figure --figure spiral` draws.
    """
    from benchbench.api import findings
    from benchbench.cli.table import print_tables
    from benchbench.reproduction.findings_table import findings_table

    found = findings(suite, profile=profile, leaderboards=leaderboards, data=data)
    if as_json:
        print_json([{**dataclasses.asdict(one), "verdict": one.verdict} for one in found])
    else:
        print_tables([findings_table(found)], "rich")
