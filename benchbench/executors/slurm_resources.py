"""What a job asks Slurm for: time and memory, from what the plan predicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchbench.contract import WorkUnit
from benchbench.errors import UsageError
from benchbench.executors.slurm_commands import longest_array, longest_minutes

LEAST_MINUTES = 10
LEAST_GB, UNKNOWN_GB = 2.0, 4.0
MEMORY_FACTOR = 1.5
LONGEST_WARNING_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the cluster allows: minutes of a job, None for any number, and jobs of an array."""

    minutes: int | None
    array: int


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """What a job asks for.

    Attributes:
        minutes: time limit.
        memory_mb: in MiB.
        warning_seconds: how long before the time limit Slurm sends its signal.
    """

    minutes: int
    memory_mb: int

    @property
    def warning_seconds(self) -> int:
        """A quarter of the time, at most two minutes; Slurm may send it up to a minute earlier."""
        return min(LONGEST_WARNING_SECONDS, 15 * self.minutes)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """How to choose: stated values, or what is made of predictions; see `benchbench.executors.slurm.SlurmExecutor`."""

    minutes: int | None
    time_factor: float
    memory_gb: float | None

    def of(self, units: Sequence[WorkUnit], limits: Limits, *, memory_factor: float = 1.0) -> Allocation:
        """What each job of an array asks for.

        Args:
            units: of the array.
            limits: of the cluster; a job that needs longer is requeued and goes on from its checkpoint.
            memory_factor: above 1 for units that ran out of memory.

        Raises:
            UsageError: more time is stated than the partition allows; Slurm itself would let the jobs wait for ever.
        """
        if self.minutes and limits.minutes and self.minutes > limits.minutes:
            raise UsageError(
                f"{self.minutes} minutes are longer than the partition allows: {limits.minutes}",
                hint="state fewer minutes: jobs are requeued, and go on from their checkpoints",
            )
        gigabytes = self.memory_gb or self._predicted_gb(units)
        minutes = self.minutes or self._predicted_minutes(units, limits)
        return Allocation(minutes=minutes, memory_mb=math.ceil(1024 * gigabytes * memory_factor))

    def _predicted_minutes(self, units: Sequence[WorkUnit], limits: Limits) -> int:
        known = [unit.seconds for unit in units if unit.seconds is not None]
        predicted = math.ceil(self.time_factor * max(known) / 60) if known else 60
        return min(max(predicted, LEAST_MINUTES), limits.minutes or predicted + LEAST_MINUTES)

    def _predicted_gb(self, units: Sequence[WorkUnit]) -> float:
        known = [unit.memory_bytes for unit in units if unit.memory_bytes is not None]
        return max(LEAST_GB, MEMORY_FACTOR * max(known) / 2**30) if known else UNKNOWN_GB


def find_limits(partition: str) -> Limits:
    """Ask Slurm."""
    return Limits(minutes=longest_minutes(partition), array=longest_array())
