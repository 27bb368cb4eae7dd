"""``benchbench plan``: what would run, and what it costs."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from benchbench.cli import options
from benchbench.cli.printing import note, print_json, print_table
from benchbench.errors import counted
from benchbench.events.wording import format_seconds
from benchbench.kernels.arithmetic import Precision

if TYPE_CHECKING:
    from benchbench.planning import Bill, CellPrice, Plan, PlannedCell

_TIMINGS = click.Path(dir_okay=False, path_type=Path)
_NAMES = ("experiment", "architecture", "defense", "attack", "threat", "seed")


class PlanOptions(options.Selection):
    """The values of the options that `command` passes on."""

    precision: Precision
    train_precision: Precision | None
    timings: Path | None
    save_timings: Path | None


@click.command(name="plan")
@options.suite_argument
@options.selection_options
@options.device_option
@options.data_option
@options.runs_option
@options.precision_option
@options.train_precision_option
@click.option(
    "--timings",
    type=_TIMINGS,
    metavar="FILE",
    help="Give prices for the device on which --save-timings wrote this file; nothing is timed here.",
)
@click.option(
    "--save-timings", type=_TIMINGS, metavar="FILE", help="Write the passes timed here, for --timings elsewhere."
)
@click.option("--cells", "each", is_flag=True, help="Also print the price of every cell, even of those without data.")
@options.json_option
def command(suite: str, each: bool, as_json: bool, **wanted: Unpack[PlanOptions]) -> int:
    """Show what would run, what is cached, what is skipped and why, and what all of it costs.

    Prices cover every cell that the suite has in the profile, also those without data here. A price is counted passes times
    timed passes, in hours of the device on which the passes were timed; other devices have no price.
    """
    from benchbench.api import plan

    made = plan(suite, **wanted, jobs="auto")
    for message in made.datasets.notes:
        note(message)
    if as_json:
        print_json(_document(made))
    else:
        _print(made, each=each)
    return 1 if made.with_status("failed") else 0


def _document(plan: Plan) -> dict[str, object]:
    from benchbench.planning import bill, bills

    estimates = _estimates(plan)
    return {
        "suite": plan.suite,
        "profile": plan.profile,
        "estimated_seconds": sum(estimates) if estimates else None,
        "price": {
            "device": plan.priced_for,
            "unit": _unit(plan),
            "total": _priced(bill(plan.cells)),
            "experiments": {name: _priced(found) for name, found in bills(plan.cells).items()},
        },
        "cells": [
            {
                "cell_id": planned.cell.cell_id if planned.cell else None,
                "experiment": planned.experiment,
                "status": planned.status,
                "reason": planned.reason,
                "estimated_seconds": planned.estimate_seconds,
                "price": dataclasses.asdict(planned.price) if planned.price else None,
                **{key: value for key, value in planned.identity.items() if key not in ("cell_id", "experiment")},
            }
            for planned in plan.cells
        ],
    }


def _unit(plan: Plan) -> str:
    """The unit of a price: an hour of the timed device."""
    kind = plan.priced_for.partition(" ")[0].partition(":")[0]
    return {"cpu": "CPU-hours", "cuda": "GPU-hours"}.get(kind, "device-hours")


def _priced(bill: Bill) -> dict[str, object]:
    return {**dataclasses.asdict(bill), "hours": bill.seconds / 3600}


def _print(plan: Plan, *, each: bool) -> None:
    counts = Counter(planned.status for planned in plan.cells)
    note(f"suite {plan.suite}, profile {plan.profile}: " + ", ".join(f"{n} {status}" for status, n in counts.items()))
    shown = [planned for planned in plan.cells if planned.status in ("ready", "done")]
    if shown:
        estimates = ("" if (s := p.estimate_seconds) is None else format_seconds(s) for p in shown)
        rows = [(*_names(planned), planned.status, text) for planned, text in zip(shown, estimates)]
        print_table((*_NAMES, "state", "estimate"), rows, right=("seed", "estimate"))
    gaps = Counter((p.experiment, p.status, p.reason) for p in plan.cells if p.status in ("skipped", "failed"))
    if gaps:
        rows = [(experiment, n, status, reason) for (experiment, status, reason), n in gaps.items()]
        print_table(("experiment", "cells", "state", "reason"), rows, right=("cells",))
    if each:
        _print_cells(plan)
    _print_prices(plan)
    if counts["ready"]:
        note(_work(plan))


def _estimates(plan: Plan) -> list[float]:
    """The predicted seconds of the ready cells that have a price."""
    return [p.estimate_seconds for p in plan.cells if p.estimate_seconds is not None]


def _work(plan: Plan) -> str:
    """What the ready cells cost, as far as it is known."""
    estimates, ready = _estimates(plan), len(plan.with_status("ready"))
    if not estimates:
        return "there is no estimate: the passes of these cells cannot be counted"
    unknown = ready - len(estimates)
    besides = f", and what has no estimate ({unknown} of {ready} cells)" if unknown else ""
    return f"about {format_seconds(sum(estimates))} of work{besides}, shared by the workers (attacks that stop early take less)"


def _print_cells(plan: Plan) -> None:
    """Print the price of each cell; the first cell of a model pays for its training."""
    columns = (*_NAMES, f"{_unit(plan)}: training", "evaluation", "memory", "storage")
    rows = [(*_names(planned), *_prices(planned.price)) for planned in plan.cells if planned.price]
    print_table(columns, rows, right=columns[5:])


def _prices(price: CellPrice) -> tuple[str, ...]:
    hours = [f"{seconds / 3600:,.2f}" if seconds else "" for seconds in (price.train_seconds, price.evaluate_seconds)]
    return (*hours, _gibibytes(price.memory_bytes or 0), _gibibytes(price.checkpoint_bytes + price.record_bytes))


def _print_prices(plan: Plan) -> None:
    """Print the price of the whole profile, by experiment."""
    from benchbench.planning import bill, bills

    by_experiment, total = bills(plan.cells), bill(plan.cells)
    if total.cells == total.unpriced:
        return
    rows = [_price_line(name, found) for name, found in by_experiment.items()]
    columns = ("whole grid", "cells", "models", _unit(plan), "longest cell", "memory", "storage")
    print_table(columns, [*rows, _price_line("total", total)], right=columns[1:])
    unpriced = f"; {counted(total.unpriced, 'cell')} without a price" if total.unpriced else ""
    note(f"prices are for {plan.priced_for}; memory is the minimum that works{unpriced}")


def _price_line(name: str, bill: Bill) -> tuple[object, ...]:
    return (
        name,
        bill.cells,
        bill.models,
        f"{bill.seconds / 3600:,.1f}",
        format_seconds(bill.longest_seconds),
        _gibibytes(bill.memory_bytes),
        _gibibytes(bill.storage_bytes),
    )


def _gibibytes(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB" if size else ""


def _names(planned: PlannedCell) -> tuple[object, ...]:
    """The values of `_NAMES` for a cell."""
    from benchbench.cell.filters import parse_options
    from benchbench.leaderboard.names import attack_label, ball_label, component_label, short_label

    identity = {name: str(value) for name, value in planned.identity.items()}
    return (
        planned.experiment,
        component_label(identity["architecture"], parse_options(identity["architecture_options"])),
        short_label(identity["defense"], parse_options(identity["defense_options"])),
        attack_label(identity["attack"], parse_options(identity["attack_options"])),
        ball_label(planned.identity["norm"], planned.identity["epsilon"]),
        identity["seed"],
    )
