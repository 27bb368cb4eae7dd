"""Processor time and memory of commands on large leaderboards, each in a separate process.

    python -m benchmarks.boards --rows 100000 --cells 5000 --records 20000

The boards are made from the committed rows: other seeds, options, numbers and flags, under the same outcomes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchbench.cell.model import digest, to_json
from benchbench.leaderboard import read_rows, write_leaderboard
from benchbench.records import Row
from benchbench.records.envelope import pack_row

COMMITTED = Path(__file__).parents[1] / "leaderboards"
SUITE = "closer-look"
SEEDS = 5  # of each configuration
_SHARES = ("train_accuracy", "test_accuracy", "adv_train_accuracy", "adv_test_accuracy")
_FLAGS = ("zero-gradients", "margin-ascent-succeeds", "half-broken")
_PLAN = """
name = "large"
protocol = "large-1"
seeds = [{seeds}]

[profiles.quick]

[[experiments]]
name = "digits"
dataset = "digits"
architectures = ["mlp"]
defenses = ["natural", "at", {defenses}]
attacks = ["pgd-10", {{ name = "mt-20", variant = "released" }}]
metrics = ["accuracy", "adversarial-accuracy", "gaps", "lipschitz"]
threat = {{ norm = "linf", epsilon = 0.1 }}
recipe = {{ optimizer = "sgd", learning_rate = 1e-3, momentum = 0.9, batch_size = 64, epochs = 3 }}
n_train = 500
n_train_evaluated = 200
n_test = 200
"""
_CELLS_PER_SEED = 20
_LAUNCHER = """
import json, os, subprocess, sys, time
with open(sys.argv[1], "wb") as printed:
    began = time.monotonic()
    process = subprocess.Popen(sys.argv[2:], stdout=printed, stderr=subprocess.STDOUT)
    _, status, usage = os.wait4(process.pid, 0)
measured = {"seconds": usage.ru_utime + usage.ru_stime, "wall": time.monotonic() - began}
print(json.dumps({**measured, "memory": 1024 * usage.ru_maxrss, "status": os.waitstatus_to_exitcode(status)}))
"""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a command took."""

    seconds: float  # of processor time: other processes on the machine count less than in the time that passes
    wall: float
    memory: int
    printed: int
    status: int


def many_rows(count: int, *, first: int = 0) -> Iterator[Row]:
    """Measured rows of distinct cells, made from the committed rows."""
    rng = np.random.default_rng(first)
    known = [row for row in read_rows(COMMITTED / f"{SUITE}.parquet") if row.source == "measured"]
    return (_varied(known[place % len(known)], place // len(known), rng) for place in range(first, first + count))


def _varied(row: Row, copy: int, rng: np.random.Generator) -> Row:
    options = json.loads(row.defense_options) | ({"strength": 1 + copy // SEEDS / 8} if copy >= SEEDS else {})
    seed = 1000 * row.seed + copy % SEEDS
    configuration = json.loads(row.configuration)
    configuration["training"] |= {"seed": seed, "defense": configuration["training"]["defense"] | {"options": options}}
    values: dict[str, Any] = {}
    for name in _SHARES:
        if getattr(row, name) is not None:
            share = float(np.clip(getattr(row, name) + rng.normal(0, 0.02), 0.01, 0.99))
            values |= {name: share, f"{name}_low": share - 0.01, f"{name}_high": share + 0.01}
    return replace(
        row,
        **values,
        seed=seed,
        defense_options=to_json(options),
        configuration=to_json(configuration),
        cell_id=digest([row.cell_id, copy]),
        model_id=digest([row.model_id, copy]),
        flags=(_FLAGS[int(rng.integers(len(_FLAGS)))],) if rng.random() < 0.05 else row.flags,
        train_seconds=None if row.train_seconds is None else row.train_seconds * float(rng.uniform(0.8, 1.2)),
    )


def cost(folder: Path, *arguments: str) -> Cost:
    """Measure a command, started by a small process, whose peak memory it inherits."""
    command = [sys.executable, "-c", _LAUNCHER, str(folder / "printed"), sys.executable, "-m", "benchbench", *arguments]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    measured = subprocess.run(command, capture_output=True, check=True, env=kept).stdout  # noqa: S603
    return Cost(printed=(folder / "printed").stat().st_size, **json.loads(measured))


def show(name: str, found: Cost) -> None:
    """Print a line of the report."""
    times = f"{found.seconds:7.2f} s, {found.wall:7.2f} s of wall time"
    sizes = f"{found.memory / 2**20:7.0f} MiB {found.printed / 2**20:7.1f} MiB printed"
    print(f"{name:<28} {times} {sizes}" + (f"  EXIT STATUS {found.status}" if found.status else ""), flush=True)


def measure_boards(folder: Path, count: int) -> None:
    """Time the commands that read boards of this many rows."""
    boards = folder / "boards"
    shutil.copytree(COMMITTED / SUITE, boards / SUITE)
    rows = list(many_rows(count))
    write_leaderboard(boards / f"{SUITE}.parquet", rows)
    write_leaderboard(folder / "other.parquet", [*rows[count // 2 :], *many_rows(count // 2, first=count)])
    models = [row.cell_id for row in rows if row.dataset == "mnist" and row.profile == rows[0].profile][:2]
    del rows
    board, there = str(boards / f"{SUITE}.parquet"), ("--leaderboards", str(boards))
    for output in ("rich", "csv", "json", "markdown", "html", "latex"):
        show(f"table --format {output}", cost(folder, "table", board, "--format", output))
    show("table --published", cost(folder, "table", board, "--published"))
    merged = str(folder / "merged.parquet")
    show("merge", cost(folder, "leaderboard", "merge", board, str(folder / "other.parquet"), "--out", merged))
    show("compare", cost(folder, "compare", *models, *there, "--runs", str(folder / "none")))
    site = folder / "site"
    show("report", cost(folder, "report", board, "--out", str(site), *there, "--runs", str(folder / "none")))
    files = [path for path in site.rglob("*") if path.is_file()]
    size, largest = sum(path.stat().st_size for path in files), max(path.stat().st_size for path in files)
    print(f"  the site: {len(files):,} files, {size / 2**20:.0f} MiB, the largest {largest / 2**20:.1f} MiB")


def measure_plan(folder: Path, cells: int) -> None:
    """Time the plan of a suite of this many cells."""
    seeds = ", ".join(map(str, range(max(1, cells // _CELLS_PER_SEED))))
    defenses = ", ".join(f'{{ name = "trades", beta = {beta}.0 }}' for beta in range(1, _CELLS_PER_SEED // 2 - 1))
    (folder / "large.toml").write_text(_PLAN.format(seeds=seeds, defenses=defenses), encoding="utf-8")
    show("plan", cost(folder, "plan", "--suite", str(folder / "large.toml"), "--runs", str(folder / "none")))


def measure_records(folder: Path, count: int) -> None:
    """Time the status of a suite with this many records."""
    runs = folder / "runs"
    shutil.copytree(COMMITTED / SUITE / "outcomes", runs / "outcomes")
    (runs / "cells").mkdir()
    for row in many_rows(count):
        (runs / "cells" / f"{row.cell_id}.json").write_bytes(pack_row(replace(row, witnesses_digest=""), ""))
    there = ("--runs", str(runs), "--leaderboards", str(folder / "status"))
    for name in ("status", "status again"):
        show(name, cost(folder, "status", "--suite", SUITE, "--profile", "quick", *there))


def measure_starts(folder: Path) -> None:
    """Time commands that should answer at once."""
    there = ("--runs", str(folder / "none"), "--leaderboards", str(folder / "empty"))
    show("show defense trades", cost(folder, "show", "defense", "trades"))
    show("data list", cost(folder, "data", "list"))
    show("status of smoke", cost(folder, "status", "--suite", "smoke", "--profile", "quick", *there))


def main(arguments: list[str] | None = None) -> None:
    """Make the boards in a temporary folder and measure all commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--cells", type=int, default=5_000)
    parser.add_argument("--records", type=int, default=20_000)
    options = parser.parse_args(arguments)
    parts: list[tuple[int, Callable[[Path, int], None]]] = [
        (options.rows, measure_boards),
        (options.cells, measure_plan),
        (options.records, measure_records),
    ]
    with tempfile.TemporaryDirectory() as scratch:
        for count, part in parts:
            if count:
                part(Path(scratch), count)
        measure_starts(Path(scratch))


if __name__ == "__main__":
    main()
