"""Events in words: one line each."""

from __future__ import annotations

from benchbench.errors import counted
from benchbench.events import (
    CellFailed,
    CellFinished,
    CellStarted,
    EvaluationProgress,
    Event,
    Note,
    RunFinished,
    RunStarted,
    TrainingProgress,
    WorkerProgress,
)


def describe(event: Event, *, several: bool = False) -> str | None:
    """One line for an event, None if it only moves a bar; `several` workers: name the cell."""
    match event:
        case RunStarted():
            return _describe_start(event)
        case CellStarted():
            left = f", about {format_seconds(event.seconds_left)} left" if event.seconds_left is not None else ""
            return f"[{event.number}/{event.total}] {event.label}{left}"
        case WorkerProgress():
            line = describe(event.event)
            return None if line is None else f"{line} (worker {event.worker})"
        case CellFinished():
            values = ", ".join(f"{name} {value:.4g}" for name, value in event.values.items())
            which = f"{event.label}, " if several else ""
            return f"  {which}done in {format_seconds(event.seconds)}: {values}"
        case CellFailed():
            return f"  FAILED {event.label}: {event.error}"
        case Note():
            return event.message
        case RunFinished():
            return (
                f"{counted(event.finished, 'cell')} computed, {event.cached} already done, {event.skipped} skipped, "
                f"{event.failed} failed in {format_seconds(event.seconds)}"
            )
    return None


def format_seconds(seconds: float) -> str:
    """A duration for people: 8.2 s, 3 min 20 s, 2 h 05 min.

    >>> format_seconds(200)
    '3 min 20 s'
    """
    if round(seconds) < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def _describe_start(event: RunStarted) -> str:
    reason = f" ({event.profile_reason})" if event.profile_reason else ""
    cells = f"{counted(event.ready, 'cell')} to compute, {event.done} done, {event.skipped} skipped"
    duration = f", about {format_seconds(event.estimated_seconds)}" if event.estimated_seconds else ""
    return f"suite {event.suite}, profile {event.profile}{reason}, on {event.device}: {cells}{duration}"


def describe_progress(event: Event) -> str | None:
    """One line for progress within a cell, None for other events."""
    if isinstance(event, TrainingProgress):
        accuracy = "" if event.accuracy is None else f", accuracy {event.accuracy:.3f}"
        return f"  epoch {event.epoch + 1}/{event.epochs}, step {event.step}/{event.steps}, loss {event.loss:.4f}{accuracy}"
    if isinstance(event, EvaluationProgress):
        return f"  {event.purpose}: {event.done}/{event.total}"
    if isinstance(event, WorkerProgress):
        line = describe_progress(event.event)
        return None if line is None else f"{line} (worker {event.worker})"
    return None
