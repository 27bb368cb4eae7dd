"""Simulate a priced plan on 10, 100 and 1,000 devices: figures and plot of docs/scale.md.

    benchbench plan --suite closer-look --profile paper --json --save-timings docs/scale-timings.json > /tmp/plan.json
    python -m benchmarks.schedule --timings docs/scale-timings.json --plot docs/scale.png

The timings say which device they were taken on; hours are hours of that device and of no other. Cells that were measured make a
schedule without any prediction:

    python -m benchmarks.schedule --leaderboard leaderboards/closer-look.parquet --profile short --devices 1 10 24 100 1000
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import benchbench
from benchbench.leaderboard.files import read_rows
from benchbench.planning import Plan, bill
from benchbench.records import Row
from benchmarks.simulation import EXAMPLES_PER_SHARD, Task, longest_first, shortest, simulate, tasks_of

COUNTS = (1, 3, 10, 30, 100, 300, 1000)
SHOWN = (10, 100, 1000)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How processes share the work.

    Attributes:
        name: for tables and the legend.
        sharded: whether several devices evaluate one model.
        ranks: devices that train and evaluate each model together.
        first: whether the longest chains come first, instead of the plan's order.
    """

    name: str
    sharded: bool = False
    ranks: int = 1
    first: bool = False


POLICIES = (
    Policy(name="whole cells, in the plan's order"),
    Policy(name="evaluations in shards", sharded=True),
    Policy(name="shards, longest first", sharded=True, first=True),
    Policy(name="8 ranks to a model", sharded=True, first=True, ranks=8),
)


def tasks_under(policy: Policy, plan: Plan, overhead: float) -> list[Task]:
    """The tasks of a plan under a policy."""
    tasks = tasks_of(plan.cells, sharded=policy.sharded, ranks=policy.ranks, overhead=overhead)
    return longest_first(tasks) if policy.first else tasks


def hours(policy: Policy, tasks: Sequence[Task], devices: int) -> float | None:
    """Hours until everything is done; None with fewer devices than a model is trained on."""
    if devices < policy.ranks:
        return None
    return simulate(tasks, devices // policy.ranks).seconds / 3600


def table(plan: Plan, overhead: float) -> list[str]:
    """The table of docs/scale.md: hours, and the share of the devices' time that is work."""
    work = bill(plan.cells).seconds / 3600
    lines = [
        "| policy | " + " | ".join(f"{n:,} devices" for n in SHOWN) + " |",
        "| --- |" + " ---: |" * len(SHOWN),
    ]
    for policy in POLICIES:
        cells, tasks = [], tasks_under(policy, plan, overhead)
        for devices in SHOWN:
            found = hours(policy, tasks, devices)
            cells.append("-" if found is None else f"{found:,.0f} h ({100 * work / found / devices:.0f}%)")
        lines.append(f"| {policy.name} | " + " | ".join(cells) + " |")
    alone = tasks_of(plan.cells)
    bounds = [shortest(alone, devices) / 3600 for devices in SHOWN]
    lines.append("| no schedule of one device to a model beats | " + " | ".join(f"{b:,.0f} h" for b in bounds) + " |")
    return lines


def longest(plan: Plan, count: int = 3) -> list[str]:
    """The dearest trainings, which set the pace once there are enough devices."""
    found = sorted(
        {
            (planned.price.train_seconds / 3600, planned.experiment, str(planned.identity["defense"]))
            for planned in plan.cells
            if planned.price
        },
        reverse=True,
    )
    return [f"{spent:,.0f} h: {experiment}, {defense}" for spent, experiment, defense in found[:count]]


def draw(plan: Plan, path: Path, overhead: float) -> None:
    """Plot hours against devices for each policy."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for policy, mark in zip(POLICIES, "os^D", strict=True):
        tasks = tasks_under(policy, plan, overhead)
        points = [(n, found) for n in COUNTS if (found := hours(policy, tasks, n)) is not None]
        axes.plot(*zip(*points, strict=True), marker=mark, markersize=4, linewidth=1.2, label=policy.name)
    work = bill(plan.cells).seconds / 3600
    axes.plot(COUNTS, [work / n for n in COUNTS], color="grey", linestyle=":", label="all devices busy")
    axes.set(xscale="log", yscale="log", xlabel="devices", ylabel=f"hours ({plan.priced_for.partition(',')[0]} each)")
    axes.grid(visible=True, which="major", linewidth=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150, metadata={"Software": None})
    plt.close(figure)


def measured_tasks(rows: Iterable[Row], *, sharded: bool) -> list[Task]:
    """Tasks of computed cells, with measured durations: each model's training and evaluations."""
    tasks: list[Task] = []
    trained: dict[str, int] = {}
    for row in rows:
        if row.model_id not in trained:
            trained[row.model_id] = len(tasks)
            tasks.append(Task(seconds=row.train_seconds or 0.0))
        pieces = math.ceil((row.n_test + (row.n_train_evaluated or 0)) / EXAMPLES_PER_SHARD) if sharded else 1
        piece = Task(seconds=(row.evaluate_seconds or 0.0) / pieces, after=trained[row.model_id])
        tasks += [piece] * pieces
    return tasks


def measured_table(rows: Sequence[Row], counts: Sequence[int]) -> list[str]:
    """Seconds until some measured cells are computed, and the share of device time that is work."""
    lines = ["| policy | " + " | ".join(f"{n:,} devices" for n in counts) + " |", "| --- |" + " ---: |" * len(counts)]
    for name, sharded, first in (
        ("whole cells, in the plan's order", False, False),
        ("evaluations in shards", True, False),
        ("shards, longest first", True, True),
    ):
        tasks = measured_tasks(rows, sharded=sharded)
        found = [simulate(longest_first(tasks) if first else tasks, n) for n in counts]
        lines.append(
            f"| {name} | " + " | ".join(f"{one.seconds:,.0f} s ({100 * one.busy:.0f}%)" for one in found) + " |"
        )
    return lines


def tell_measured(path: Path, profile: str, experiments: Sequence[str], counts: Sequence[int]) -> None:
    """Print the table of the measured cells of a leaderboard."""
    rows = [
        row for row in read_rows(path) if row.source == "measured" and row.status == "ok" and row.profile == profile
    ]
    rows = [row for row in rows if not experiments or row.experiment in experiments]
    work = sum(task.seconds for task in measured_tasks(rows, sharded=False))
    devices = ", ".join(sorted({row.device for row in rows}))
    print(
        f"{len(rows)} measured cells, {len({row.model_id for row in rows})} models, {work:,.0f} s of work on {devices}"
    )
    print("\n".join(measured_table(rows, counts)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="closer-look")
    parser.add_argument("--profile", default="paper")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--timings", type=Path)
    source.add_argument("--leaderboard", type=Path, help="a schedule of the cells that it has measured")
    parser.add_argument("--experiment", action="append", default=[], help="of the leaderboard; may be repeated")
    parser.add_argument("--devices", type=int, nargs="+", default=SHOWN, help="for the leaderboard's cells")
    parser.add_argument(
        "--overhead", type=float, default=0.0, help="by which dividing a training step adds to its work"
    )
    parser.add_argument("--plot", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.leaderboard:
        tell_measured(chosen.leaderboard, chosen.profile, chosen.experiment, chosen.devices)
        return
    plan = benchbench.plan(chosen.suite, profile=chosen.profile, timings=chosen.timings, device="cpu")
    total = bill(plan.cells)
    print(f"{total.cells} cells, {total.models} trained models, {total.unpriced} without a price; {plan.priced_for}")
    print(f"{total.seconds / 3600:,.0f} device-hours; storage {total.storage_bytes / 2**30:.0f} GiB")
    print("\n".join(["longest trainings:", *longest(plan), "", *table(plan, chosen.overhead)]))
    if chosen.plot:
        draw(plan, chosen.plot, chosen.overhead)


if __name__ == "__main__":
    main()
