"""Costs of a shared runs folder: processor time, file-system calls of claims and waiting.

    python -m benchmarks.claims [--folder DIR]

Python's audit hook counts the calls, except stat and utime, which it does not see and which are counted separately. On a
network file system the calls are the same, and each takes longer.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from benchbench.harness.scheduling import LONGEST_POLL_SECONDS, POLL_SECONDS, POLL_SECONDS_PER_CELL
from benchbench.records import RunStore
from benchbench.records.claims import BEATS, STALE_SECONDS, Claims

TIMES = 200
SEEN = {"open", "os.remove", "os.rename", "os.mkdir", "os.utime", "os.listdir", "os.scandir"}

_calls: Counter[str] = Counter()


def _hear(event: str, _: tuple[Any, ...]) -> None:
    if event in SEEN:
        _calls[event] += 1


def measure(action: Callable[[], object]) -> tuple[float, float]:
    """Processor milliseconds and file-system calls of an action, each on average."""
    looked = 0
    stat = os.stat

    def counted(*arguments: Any, **named: Any) -> os.stat_result:
        nonlocal looked
        looked += 1
        return stat(*arguments, **named)

    action()
    _calls.clear()
    began = time.thread_time()
    with mock.patch("os.stat", counted):
        for _ in range(TIMES):
            action()
    return 1000 * (time.thread_time() - began) / TIMES, (sum(_calls.values()) + looked) / TIMES


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the costs, and their sum for many processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to try; default the system's temporary folder")
    chosen = parser.parse_args(arguments)
    sys.addaudithook(_hear)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        _print_costs(Path(name))


def _print_costs(folder: Path) -> None:
    mine, other = Claims(folder / "claims"), Claims(folder / "claims")
    store = RunStore(folder)

    def take() -> None:
        with mine.held("cell"):
            pass

    def look() -> None:
        with other.held("taken"):
            store.record_times("taken")

    with mine.held("taken"):
        costs = {
            "a claim taken and given back": measure(take),
            "a look at a cell that another process holds": measure(look),
        }
    for what, (milliseconds, calls) in costs.items():
        print(f"{what}: {milliseconds:.2f} ms of processor time, {calls:.0f} file-system calls")
    looks = costs["a look at a cell that another process holds"][1]
    for processes in (10, 100, 1000):
        for pending in (10, 100):
            every = max(POLL_SECONDS, POLL_SECONDS_PER_CELL * pending)
            first, later = (processes * pending * looks / pause for pause in (every, LONGEST_POLL_SECONDS))
            what = f"{processes:5,} processes that wait for {pending} cells"
            print(f"{what}: {first:,.0f} calls per second at first, {later:,.0f} after some minutes")
        print(
            f"{processes:5,} processes at work: {processes * BEATS / STALE_SECONDS:,.1f} heartbeats per second and claim"
        )


if __name__ == "__main__":
    main()
