"""Make the tables of docs/performance.md; benchmarks/measured keeps each benchmark's output.

    PEERS=PEERS python -m benchmarks --data ../shared/data

Names choose among them: ``python -m benchmarks attacks training``. All take about two hours on one thread of an AVX-512 core.
Failed ones are named at the end, and the exit status is then 1. Without a GPU, its benchmark is left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

MEASURED = Path(__file__).with_name("measured")


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One file of figures: the module that prints it, and its arguments."""

    module: str
    arguments: tuple[str, ...] = ()
    data: bool = True

    def command(self, data: Path) -> list[str]:
        """The command line of a benchmark."""
        return [f"benchmarks.{self.module}", *(("--data", str(data)) if self.data else ()), *self.arguments]


ONE = ("--threads", "1")
BENCHMARKS = {
    "attacks": Benchmark(module="attacks", arguments=(*ONE, "--examples", "128")),
    "lipschitz": Benchmark(module="lipschitz", arguments=(*ONE, "--examples", "64")),
    "training": Benchmark(module="training", arguments=(*ONE, "--examples", "256")),
    "separation": Benchmark(module="separation"),
    "mapped": Benchmark(module="mapped", data=False),
    "scaling": Benchmark(module="scaling", arguments=ONE),
    "learning": Benchmark(module="learning", arguments=ONE),
    "agreement": Benchmark(module="agreement", arguments=(*ONE, "--examples", "448")),
    "autoattack": Benchmark(module="autoattack", arguments=(*ONE, "--examples", "32", "--rounds", "1")),
    "speeds": Benchmark(module="speeds", data=False),
}


def main() -> int:
    """Run them one after the other; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default all: {', '.join(BENCHMARKS)}")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("BENCHBENCH_DATA", "../shared/data")))
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"unknown benchmarks {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    names = options.names or [name for name in BENCHMARKS if name != "speeds" or torch.cuda.is_available()]
    failed = [name for name in names if not keep(name, BENCHMARKS[name].command(options.data))]
    print(f"failed: {', '.join(failed)}" if failed else f"all figures are in {MEASURED}")
    return 1 if failed else 0


def keep(name: str, command: list[str]) -> bool:
    """Run a benchmark, show its progress, and keep its output if it succeeds."""
    print(f"== python -m {' '.join(command)}", flush=True)
    lines = [f"$ python -m {' '.join(command)}\n"]
    with subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True) as running:  # noqa: S603
        for line in running.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    if running.returncode == 0:
        MEASURED.mkdir(exist_ok=True)
        (MEASURED / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
    return running.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
