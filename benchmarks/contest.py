"""Contenders interleaved in one process: each round runs all, ratios are within a round."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata

import torch

from benchbench.version import __version__

PACKAGES = (
    "torch",
    "numpy",
    "foolbox",
    "torchattacks",
    "pyautoattack",
    "adversarial-robustness-toolbox",
    "adv-lib",
)


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One of the implementations that are compared.

    Attributes:
        work: does it once.
        share: share of the whole work that `work` does, in (0, 1]; seconds are divided by it, as the cost is linear in it.
        elsewhere: whether a GPU does the work, so that wall-clock seconds count.
    """

    work: Callable[[], object]
    share: float = 1.0
    elsewhere: bool = False


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Cost as a multiple of the reference's: median over the rounds, lower and upper quartile."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:5.2f}   {self.low:5.2f} to {self.high:4.2f}"


def compete(
    contenders: Mapping[str, Contender], *, reference: str, rounds: int, warm_up: bool = True
) -> dict[str, Ratio]:
    """Run every contender once per round, after a round to warm up, unless all have run before.

    Args:
        contenders: by name.
        reference: the contender that the others are compared with.
        rounds: at least 1; ratios are formed within each.
        warm_up: whether to run the round to warm up.
    """
    for contender in contenders.values() if warm_up else ():
        contender.work()
    seconds = [{name: timed(contender) for name, contender in contenders.items()} for _ in range(rounds)]
    return {name: ratio([times[name] / times[reference] for times in seconds]) for name in contenders}


def ratio(values: list[float]) -> Ratio:
    """Median and quartiles."""
    if len(values) == 1:
        return Ratio(median=values[0], low=values[0], high=values[0])
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Ratio(median=statistics.median(values), low=low, high=high)


def timed(contender: Contender) -> float:
    """Seconds of a contender's work: processor time with one thread, unaffected by other load."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    started = clock()
    contender.work()
    return (clock() - started) / contender.share


def show(title: str, ratios: Mapping[str, Ratio], goals: Mapping[str, float]) -> None:
    """Print a table: contender, ratio, quartiles, goal."""
    print(f"\n{title}")
    for name, measured in ratios.items():
        goal = f"   goal {goals[name]:.2f}" if name in goals else ""
        print(f"  {name:<34} {measured}{goal}", flush=True)


def versions() -> str:
    """Exact versions, and the machine."""
    listed = [f"benchbench {__version__}"]
    for package in PACKAGES:
        try:
            listed.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            listed.append(f"{package} not installed")
    cores = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"
    load = f"load {os.getloadavg()[0]:.1f} at the start"
    return f"{', '.join(listed)}; Python {platform.python_version()}, {cores}, {load}"
