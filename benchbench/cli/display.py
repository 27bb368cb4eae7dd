"""Progress on standard error: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from benchbench.escaping import printable
from benchbench.events import (
    CellFailed,
    CellFinished,
    CellStarted,
    EvaluationProgress,
    Event,
    Listener,
    RunStarted,
    TrainingProgress,
    TrainingStarted,
    WorkerIdle,
    WorkerProgress,
    ignore,
)
from benchbench.events.wording import describe, describe_progress, format_seconds

PLAIN_SECONDS = 15.0  # between two progress lines when there is no terminal


@contextmanager
def progress_display(*, quiet: bool) -> Iterator[Listener]:
    """The listener that suits standard error."""
    if quiet:
        yield ignore
    elif sys.stderr.isatty():
        with LiveDisplay(Console(stderr=True)) as display:
            yield display.show
    else:
        yield PlainDisplay(lambda line: print(line, file=sys.stderr, flush=True)).show


class PlainDisplay:
    """Write events as lines, for logs and pipes."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._last = time.monotonic()
        self._several = False

    def show(self, event: Event) -> None:
        """Write the line of an event; for progress within a cell, at most every `PLAIN_SECONDS`."""
        self._several |= isinstance(event, WorkerProgress)
        line = describe(event, several=self._several)
        if line is None and time.monotonic() - self._last > PLAIN_SECONDS:
            line = describe_progress(event)
        if line is not None:
            self._last = time.monotonic()
            self._write(printable(line))


class LiveDisplay:
    """Show one bar for all cells, and one for the current cell of each worker."""

    def __init__(
        self, console: Console, *, get_time: Callable[[], float] = time.monotonic, auto_refresh: bool = True
    ) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
        )
        self._progress = Progress(
            *columns, console=console, transient=True, get_time=get_time, auto_refresh=auto_refresh
        )
        self._now = get_time
        self._cells: TaskID | None = None
        self._current: dict[int, TaskID] = {}  # by number of the worker; 0 for this process
        self._numbers: dict[int, int] = {}  # number of each worker's current cell
        self._end: float | None = None

    def __enter__(self) -> LiveDisplay:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def refresh(self) -> None:
        """Draw the bars now."""
        self._progress.refresh()

    def show(self, event: Event) -> None:
        """Print the event's line and move the bars."""
        line = describe(event, several=len(self._current) > 1)
        if line is not None:
            self._progress.console.print(printable(line), highlight=False, markup=False)
        match event:
            case RunStarted():
                self._cells = self._progress.add_task("cells", total=event.ready, detail="")
                self._add_bar(0)
            case CellStarted():
                self._predict_end(event)
                self._update_cells(completed=event.number - 1)
            case CellFinished() | CellFailed() if self._cells is not None:
                self._progress.advance(self._cells)
            case WorkerProgress():
                self._show_work(event.event, event.worker)
            case WorkerIdle():
                self._show_rest(event)
            case _:
                self._show_work(event, 0)

    def _show_work(self, event: Event, worker: int) -> None:
        match event:
            case CellStarted():
                self._predict_end(event)
                self._begin_cell(event.number, worker)
            case TrainingStarted() | TrainingProgress():
                self._show_training(event, worker)
            case EvaluationProgress():
                self._show_current(worker, event.purpose, event.done, event.total, "")

    def _begin_cell(self, number: int, worker: int) -> None:
        self._numbers[worker] = number
        self._add_bar(worker)
        self._progress.reset(
            self._current[worker], description=f"worker {worker}: [{number}] begins", total=1, detail="", visible=True
        )

    def _show_rest(self, event: WorkerIdle) -> None:
        """Keep the bar of an idle worker, so that the others do not move; hide that of an ended one."""
        if event.worker in self._current:
            name = f"worker {event.worker}: idle"
            self._progress.update(self._current[event.worker], description=name, detail="", visible=not event.gone)

    def _predict_end(self, event: CellStarted) -> None:
        self._end = None if event.seconds_left is None else self._now() + event.seconds_left

    def _add_bar(self, worker: int) -> None:
        if worker not in self._current:
            self._current[worker] = self._progress.add_task("", total=1, detail="", visible=False)

    def _update_cells(self, *, completed: int | None = None) -> None:
        """Show the finished cells, and the predicted time left."""
        if self._cells is not None:
            left = 0.0 if self._end is None else self._end - self._now()
            detail = f"{format_seconds(left)} left" if left > 0 else ""
            self._progress.update(self._cells, completed=completed, detail=detail)

    def _show_training(self, event: TrainingStarted | TrainingProgress, worker: int) -> None:
        done, detail = event.epoch * event.steps, ""
        if isinstance(event, TrainingProgress):
            accuracy = "" if event.accuracy is None else f" accuracy {event.accuracy:.3f}"
            done, detail = done + event.step, f"epoch {event.epoch + 1}/{event.epochs} loss {event.loss:.3f}{accuracy}"
        self._show_current(worker, "training", done, event.epochs * event.steps, detail)

    def _show_current(self, worker: int, description: str, done: int, total: int, detail: str) -> None:
        if self._cells is None:
            return
        self._update_cells()
        self._add_bar(worker)
        named = f"worker {worker}: [{self._numbers.get(worker, '?')}] {description}" if worker else description
        self._progress.update(
            self._current[worker],
            description=printable(named),
            completed=done,
            total=total,
            detail=detail,
            visible=True,
        )
