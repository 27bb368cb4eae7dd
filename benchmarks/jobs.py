"""Compare several workers of one thread with one process of as many threads, on a suite.

``python -m benchmarks.jobs --suite closer-look --only dataset=mnist --data DATA``. Contenders run one after the other in each
round, each in empty folders, start-up included. Ratios of wall-clock time show how long a user waits on this machine; ratios
of processor time show the cost of the work, independent of other load. With ``--device cuda --workers N``, N processes share
the GPUs and are compared with one process.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ledger import RATIO, Ledger

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A way to run the suite: worker processes (0: the run's own process only), threads of each."""

    workers: int
    threads: int

    @property
    def name(self) -> str:
        """Its name in the table."""
        return f"{self.workers or 1} x {self.threads}"

    def command(self, arguments: argparse.Namespace, folder: Path) -> list[str]:
        """The command line of a run in an empty folder."""
        jobs = ["--jobs", str(self.workers)] if self.workers else []
        places = ["--runs", str(folder / "runs"), "--leaderboards", str(folder / "leaderboards")]
        options = ["--device", arguments.device, *places, *jobs]
        if self.workers:
            options += ["--executor", f'{{name = "local", threads = {self.threads}}}']
        return [sys.executable, "-m", "benchbench", *suite_arguments(arguments), *options]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of wall-clock time, and of processor time over all processors."""

    wall: float
    processor: float


def suite_parser(description: str | None) -> argparse.ArgumentParser:
    """Options that say which part of a suite to run."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--suite", default="closer-look")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--data", type=Path)
    return parser


def suite_arguments(given: argparse.Namespace) -> list[str]:
    """The arguments of `benchbench` that run this part."""
    only = [part for value in given.only for part in ("--only", value)]
    data = ["--data", str(given.data)] if given.data else []
    return ["run", "--suite", given.suite, "--profile", given.profile, "--quiet", *only, *data]


def measure(contender: Contender, arguments: argparse.Namespace) -> Cost:
    """Run once in empty folders."""
    environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(contender.threads))}
    with tempfile.TemporaryDirectory() as place:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(  # noqa: S603
            contender.command(arguments, Path(place)), env=environment, check=True, stdout=subprocess.DEVNULL
        )
        after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall=ended - began, processor=used)


def main() -> None:
    """Print the ratios."""
    parser = suite_parser(__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--workers", type=int, help="default one to each core")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ledger", type=Path, help="file that the ratios are appended to")
    arguments = parser.parse_args()
    workers = arguments.workers or arguments.cores
    one = Contender(workers=1 if arguments.device == "cuda" else 0, threads=arguments.cores)
    several = Contender(workers=workers, threads=max(1, arguments.cores // workers))
    wall, processor = [], []
    for number in range(1, arguments.rounds + 1):
        base, contender = measure(one, arguments), measure(several, arguments)
        wall.append(contender.wall / base.wall)
        processor.append(contender.processor / base.processor)
        print(
            f"round {number}: {one.name} {base.wall:.0f} s ({base.processor:.0f} s of processors), "
            f"{several.name} {contender.wall:.0f} s ({contender.processor:.0f} s): "
            f"wall {wall[-1]:.2f}, processors {processor[-1]:.2f}",
            flush=True,
        )
    title, ledger = f"{several.name} (workers x threads) of {one.name}", Ledger(path=arguments.ledger)
    medians = {"wall": statistics.median(wall), "processors": statistics.median(processor)}
    print(
        f"{title}, median of {len(wall)} rounds: " + ", ".join(f"{name} {value:.2f}" for name, value in medians.items())
    )
    for name, value in medians.items():
        ledger.add(RATIO, name, of=title, median=value, rounds=len(wall))


if __name__ == "__main__":
    main()
