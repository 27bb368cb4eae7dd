"""The host of an executor: reads journals, counts records, fails cells that crash workers."""

from __future__ import annotations

import time
from collections import Counter

from benchbench.cell.model import Cell
from benchbench.errors import ExecutorError
from benchbench.events import (
    CellFailed,
    CellFinished,
    CellStarted,
    EvaluationProgress,
    Note,
    TrainingProgress,
    TrainingStarted,
    WorkerIdle,
    WorkerProgress,
)
from benchbench.executors.crew import Commission
from benchbench.executors.job import Job
from benchbench.executors.journal import Hello, JournalEntry, Journals, WorkerTrouble
from benchbench.harness.clock import Clock
from benchbench.harness.scheduling import Tally, shown_values
from benchbench.leaderboard import rebuild
from benchbench.leaderboard.names import describe_cell
from benchbench.records import Provenance, failed_row, provenance
from benchbench.settings import check_writable

LEAST_SPACE = 2**20  # bytes on the disk without which no worker can go on
LOOK_SECONDS = 0.25  # between two looks into the journals
REBUILD_SECONDS = 30.0  # between two partial leaderboards
DEATHS_OF_A_CELL = 2  # record a cell as failed after it crashed this many workers
DEATHS_WITHOUT_A_CELL = 3  # give up after this many workers in a row died before they began a cell
CLOCK_SECONDS = 5.0  # warn above this clock difference


class Supervisor:
    """The `benchbench.contract.Host` of a job."""

    def __init__(self, job: Job, commission: Commission) -> None:
        cells = commission.prepared.plan.ready
        self._job = job
        self._run = commission
        self._store = commission.prepared.store
        self._pending = {cell.cell_id: cell for cell in cells}
        self._total = len(cells)
        self._units = {cell_id: unit for unit, cell_ids in job.units.items() for cell_id in cell_ids}
        self._journals = Journals(job.journals, from_the_end=True)
        self._clock = Clock(cells, job.estimates)
        self._numbers: dict[str, int] = {}
        self._at: dict[str, str] = {}  # cell id by worker
        self._seconds: dict[str, float] = {}
        self._begun: dict[str, int] = {}  # number of each cell within the run
        self._deaths: Counter[str] = Counter()
        self._off: set[str] = set()  # machines whose clock differs
        self._idle_deaths = 0
        self._finished = 0
        self._failures: list[CellFailed] = []
        self._rebuilt = time.monotonic()

    def wait(self, seconds: float) -> None:
        """See `Host.wait`; raises Stopped, or the error with which a worker cannot continue."""
        end = time.monotonic() + seconds
        while True:
            self._run.stop.check()
            self.follow()
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(LOOK_SECONDS, left))

    def left(self) -> frozenset[str]:
        """See `Host.left`."""
        self._count()
        return frozenset(self._units[cell_id] for cell_id in self._pending)

    def died(self, worker: str, reason: str) -> None:
        """See `Host.died`."""
        self.follow()
        check_writable(self._job.folder, size=LEAST_SPACE)  # on a full disk a worker cannot report that it is full
        self._rest(worker, gone=True)
        cell = self._pending.get(self._at.pop(worker, ""))
        if cell is None:
            self._died_idle(worker, reason)
            return
        self._deaths[cell.cell_id] += 1
        label = describe_cell(cell)
        if self._deaths[cell.cell_id] < DEATHS_OF_A_CELL:
            self.say(f"worker {self._number(worker)} was {reason} at {label}: the cell is tried again")
            return
        error = f"{DEATHS_OF_A_CELL} worker processes died while they computed it; the last was {reason}"
        self._record_failure(cell, error)
        self._count()

    def say(self, message: str) -> None:
        """See `Host.say`."""
        self._run.listener(Note(message=message))

    def follow(self) -> None:
        """Process the new entries of the journals; ExecutorError if a worker cannot continue."""
        heard = False
        for worker, entry in self._journals.news():
            heard |= isinstance(entry, (CellFinished, CellFailed))
            self._take_note(worker, entry)
        if heard:
            self._count()
            if time.monotonic() - self._rebuilt > REBUILD_SECONDS:
                prepared = self._run.prepared
                rebuild(prepared.leaderboard, prepared.store, prepared.suite.name)
                self._rebuilt = time.monotonic()

    def tally(self) -> Tally:
        """Count the cells by their records."""
        self._count()
        return Tally(finished=self._finished, failures=tuple(self._failures), left=tuple(self._pending.values()))

    def _take_note(self, worker: str, entry: JournalEntry) -> None:
        match entry:
            case Hello():
                self._at.pop(worker, None)
                self._greet(worker, entry)
            case WorkerTrouble():
                raise ExecutorError(f"worker {self._number(worker)}: {entry.message}", hint=entry.hint)
            case CellStarted():
                self._at[worker] = entry.cell_id
                self._idle_deaths = 0
                self._clock.start(entry.cell_id)
                self._show(worker, self._renumbered(entry))
            case CellFinished() | CellFailed():
                if isinstance(entry, CellFinished):
                    self._seconds[entry.cell_id] = entry.seconds
                self._at.pop(worker, None)
                self._rest(worker)
            case TrainingStarted() | TrainingProgress() | EvaluationProgress():
                self._show(worker, entry)

    def _greet(self, worker: str, hello: Hello) -> None:
        self.say(f"worker {self._number(worker)}: process {hello.pid} on {hello.host}, {hello.device}")
        if abs(hello.clock_ahead) > CLOCK_SECONDS and hello.host not in self._off:
            self._off.add(hello.host)
            ahead = "ahead of" if hello.clock_ahead > 0 else "behind"
            self.say(
                f"the clock of {hello.host} is {abs(hello.clock_ahead):.0f} s {ahead} that of the shared folder: claims go by "
                "the folder's, but budgets and log files will be off; have the machine's time synchronised"
            )

    def _renumbered(self, event: CellStarted) -> CellStarted:
        """The event with the number of the cell in the run, instead of in its worker."""
        return CellStarted(
            number=self._begun.setdefault(event.cell_id, len(self._begun) + 1),
            total=self._total,
            cell_id=event.cell_id,
            label=event.label,
            seconds_left=self._clock.seconds_left(self._run.crew.workers or 1),
        )

    def _show(
        self, worker: str, event: CellStarted | TrainingStarted | TrainingProgress | EvaluationProgress | Note
    ) -> None:
        self._run.listener(WorkerProgress(worker=self._number(worker), event=event))

    def _rest(self, worker: str, *, gone: bool = False) -> None:
        self._run.listener(WorkerIdle(worker=self._number(worker), gone=gone))

    def _number(self, worker: str) -> int:
        return self._numbers.setdefault(worker, len(self._numbers) + 1)

    def _died_idle(self, worker: str, reason: str) -> None:
        if not self._pending:
            return
        self._idle_deaths += 1
        if self._idle_deaths >= DEATHS_WITHOUT_A_CELL:
            raise ExecutorError(
                f"{DEATHS_WITHOUT_A_CELL} workers in a row ended before they began a cell; the last was {reason}",
                hint=f"what they said is below {self._job.folder}",
            )
        self.say(f"worker {self._number(worker)} was {reason} before it began a cell; another one is started")

    def _count(self) -> None:
        """Remove the cells recorded since the run began from the pending ones."""
        for cell_id, cell in [*self._pending.items()]:
            row = self._store.recorded_since(cell_id, self._job.before.get(cell_id, (None, None)))
            if row is None:
                continue
            del self._pending[cell_id]
            seconds, label = self._seconds.get(cell_id), describe_cell(cell)
            self._clock.finish(cell_id, seconds)
            if row.status == "ok":
                self._finished += 1
                took, shown = seconds or row.evaluate_seconds or 0.0, shown_values(row)
                self._run.listener(CellFinished(cell_id=cell_id, label=label, seconds=took, values=shown))
            else:
                self._failures.append(CellFailed(cell_id=cell_id, label=label, error=row.error))
                self._run.listener(self._failures[-1])

    def _record_failure(self, cell: Cell, error: str) -> None:
        """Record a cell that crashed several workers as failed, so that this run does not retry it."""
        recorded = Provenance(
            precision=cell.evaluation.precision,
            device=self._run.prepared.device.type,
            versions=provenance.versions(),
            git_commit=provenance.git_commit() or "",
        )
        self._store.write_cell(failed_row(cell, error, provenance=recorded))
