"""The events of a run. The logic emits them; the command line and notebooks show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """A run begins."""

    suite: str
    profile: str
    profile_reason: str  # why benchbench chose this profile, for the first line printed; empty if the user chose it
    device: str
    total: int  # cells of the plan: `ready` ones will be computed, `done` ones are cached, `skipped` ones cannot run
    ready: int
    done: int
    skipped: int
    estimated_seconds: float | None  # predicted duration of the ready cells; None if unknown


@dataclass(frozen=True, kw_only=True)
class CellStarted:
    """A cell begins; `number` counts from 1 to `total` (ready cells), `label` is for people."""

    number: int
    total: int
    cell_id: str
    label: str
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True)
class TrainingStarted:
    """Training begins or resumes; `epoch` of `epochs` epochs are done."""

    epoch: int
    epochs: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """Running means over the epoch; accuracy is None if the defense gives no logits."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class EvaluationProgress:
    """`done` of `total` examples are measured for `purpose`, such as ``pgd-10 on train``."""

    purpose: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class CellFinished:
    """A cell is recorded."""

    cell_id: str
    label: str
    seconds: float
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CellFailed:
    """A cell is recorded as failed; the next run retries it."""

    cell_id: str
    label: str
    error: str


@dataclass(frozen=True, kw_only=True)
class Note:
    """A message for people, for instance how long a compilation takes."""

    message: str


@dataclass(frozen=True, kw_only=True)
class RunFinished:
    """The run has ended; counts are of cells."""

    finished: int
    failed: int
    cached: int
    skipped: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class WorkerProgress:
    """The activity of worker number `worker`, counted from 1 in the order of their start."""

    worker: int
    event: CellStarted | TrainingStarted | TrainingProgress | EvaluationProgress | Note


@dataclass(frozen=True, kw_only=True)
class WorkerIdle:
    """A worker has finished its cell or, if `gone`, has ended; another process may replace it."""

    worker: int
    gone: bool = False


Event = (
    RunStarted
    | CellStarted
    | TrainingStarted
    | TrainingProgress
    | EvaluationProgress
    | CellFinished
    | CellFailed
    | Note
    | WorkerProgress
    | WorkerIdle
    | RunFinished
)
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A listener that shows nothing."""
