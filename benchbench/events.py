"""What happens during a run, told as events. The logic emits them; only the command line shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """A run begins.

    Attributes:
        profile_reason: why this profile was chosen, for the first line printed; empty when it was asked for.
        total: cells of the plan, of which `ready` are to compute, `done` are cached and `skipped` cannot run.
        estimated_seconds: predicted duration of the ready cells; None when unknown.
    """

    suite: str
    profile: str
    profile_reason: str
    device: str
    total: int
    ready: int
    done: int
    skipped: int
    estimated_seconds: float | None


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
    """Training begins or goes on; `epoch` epochs of `epochs` are already done."""

    epoch: int
    epochs: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """Some steps later: running means over the epoch; accuracy is None where the defense gives no logits."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class EvaluationProgress:
    """`done` of `total` examples have been measured for `purpose` (``test accuracy``, ``pgd-10 on train``, ...)."""

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
    """A cell raised; it is recorded as failed and tried again by the next run."""

    cell_id: str
    label: str
    error: str


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something that people should know, for instance how long a compilation takes."""

    message: str


@dataclass(frozen=True, kw_only=True)
class RunFinished:
    """The run is over; counts are of cells."""

    finished: int
    failed: int
    cached: int
    skipped: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class WorkerProgress:
    """What one of several worker processes is at; cells that are over are told without naming who computed them.

    Attributes:
        worker: number of the worker, from 1, in the order in which they began.
        event: what it does.
    """

    worker: int
    event: CellStarted | TrainingStarted | TrainingProgress | EvaluationProgress | Note


@dataclass(frozen=True, kw_only=True)
class WorkerIdle:
    """One of several worker processes has nothing at hand: its cell is over, or it has ended.

    Attributes:
        worker: see `WorkerProgress`.
        gone: whether it has ended; another process may come in its place.
    """

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
    """The listener that shows nothing."""
