"""The time and the memory of Slurm jobs, from the plan's predictions."""

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
    """The cluster's limits: minutes of a job (None for no limit) and jobs of an array."""

    minutes: int | None
    array: int


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """The time limit of a job, and its memory in MiB."""

    minutes: int
    memory_mb: int

    @property
    def warning_seconds(self) -> int:
        """When Slurm sends its signal before the limit: a quarter of the time, at most 2 min."""
        return min(LONGEST_WARNING_SECONDS, 15 * self.minutes)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Stated or predicted resources; see `benchbench.executors.slurm.SlurmExecutor`."""

    minutes: int | None
    time_factor: float
    memory_gb: float | None

    def of(self, units: Sequence[WorkUnit], limits: Limits, *, memory_factor: float = 1.0) -> Allocation:
        """The resources of each job of an array; a longer job is requeued, at its checkpoint.

        The `memory_factor` is above 1 for units that ran out of memory. A stated time beyond the partition's limit is a
        UsageError: Slurm itself would let the jobs wait forever.
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
    """Query Slurm."""
    return Limits(minutes=longest_minutes(partition), array=longest_array())
