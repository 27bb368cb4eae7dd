"""``benchbench plan``: what would run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchbench.cli.display import format_seconds
from benchbench.cli.options import data_option, device_option, json_option, selection_options, suite_option
from benchbench.cli.printing import note, print_json, print_table

if TYPE_CHECKING:
    from benchbench.plan import Plan, PlannedCell


@click.command(name="plan")
@suite_option
@selection_options
@device_option
@data_option
@click.option("--runs", type=click.Path(file_okay=False, path_type=Path), help="Folder of checkpoints and records.")
@json_option
def command(
    suite: str,
    profile: str | None,
    only: tuple[str, ...],
    seeds: tuple[int, ...],
    device: str | None,
    data: Path | None,
    runs: Path | None,
    as_json: bool,
) -> int:
    """Show what would run, what is cached, what is skipped and why, with estimated times."""
    from benchbench.api import plan

    made = plan(suite, profile=profile, only=only, seeds=seeds, device=device, data=data, runs=runs)
    if as_json:
        print_json(_document(made))
    else:
        _print(made)
    return 1 if made.with_status("failed") else 0


def _document(plan: Plan) -> dict[str, object]:
    estimates = [p.estimate_seconds for p in plan.cells if p.estimate_seconds is not None]
    return {
        "suite": plan.suite,
        "profile": plan.profile,
        "estimated_seconds": sum(estimates) if estimates else None,
        "cells": [
            {
                "cell_id": planned.cell.cell_id if planned.cell else None,
                "experiment": planned.experiment,
                "status": planned.status,
                "reason": planned.reason,
                "estimated_seconds": planned.estimate_seconds,
                **{key: value for key, value in planned.identity.items() if key not in ("cell_id", "experiment")},
            }
            for planned in plan.cells
        ],
    }


def _print(plan: Plan) -> None:
    counts = Counter(planned.status for planned in plan.cells)
    estimate = sum(p.estimate_seconds or 0.0 for p in plan.cells)
    note(f"suite {plan.suite}, profile {plan.profile}: " + ", ".join(f"{n} {status}" for status, n in counts.items()))
    shown = [planned for planned in plan.cells if planned.status in ("ready", "done")]
    if shown:
        columns = ("experiment", "architecture", "defense", "attack", "seed", "state", "estimate")
        print_table(columns, [_line(planned) for planned in shown], right=("seed", "estimate"))
    gaps = Counter((p.experiment, p.status, p.reason) for p in plan.cells if p.status in ("skipped", "failed"))
    if gaps:
        rows = [(experiment, n, status, reason) for (experiment, status, reason), n in gaps.items()]
        print_table(("experiment", "cells", "state", "reason"), rows, right=("cells",))
    if counts["ready"]:
        note(f"about {format_seconds(estimate)} in all (attacks that stop early take less)")


def _line(planned: PlannedCell) -> tuple[object, ...]:
    """The table line of a ready or done cell."""
    from benchbench.leaderboard.names import attack_label, parse_options, short_label

    identity = planned.identity
    return (
        planned.experiment,
        identity["architecture"],
        short_label(identity["defense"], parse_options(identity["defense_options"])),
        attack_label(identity["attack"], parse_options(identity["attack_options"])),
        identity["seed"],
        planned.status,
        "" if planned.estimate_seconds is None else format_seconds(planned.estimate_seconds),
    )
