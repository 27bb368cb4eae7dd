"""Which cell comes next: in order, shared with other processes, within a budget; failures are recorded, the rest goes on."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby

from benchbench.cell.model import Cell
from benchbench.errors import RankError, StorageError
from benchbench.events import CellFailed, CellFinished, CellStarted, Note
from benchbench.harness.cells import (
    describe_cell,
    help_with,
    note_earlier_checkpoints,
    record_cell,
    record_failure,
    take_back,
    train_cell,
)
from benchbench.harness.clock import Clock
from benchbench.harness.evaluating import evaluate_cell, is_open
from benchbench.harness.renewing import renew_flags
from benchbench.harness.sharing import EvaluationOverError
from benchbench.harness.shortage import ALONE, Shortage, free_memory
from benchbench.harness.workbench import Workbench
from benchbench.kernels.determinism import deterministic
from benchbench.kernels.graphs import recording
from benchbench.records import Row, is_finished
from benchbench.records.claims import Claims
from benchbench.stopping import Stopped

_log = logging.getLogger(__name__)
POLL_SECONDS = 1.0
POLL_SECONDS_PER_CELL = 0.01
LONGEST_POLL_SECONDS = 30.0  # a thousand processes that look every second would keep a file system busy
POLL_GROWTH = 1.5
RecordTimes = tuple[int | None, int | None]  # see `RunStore.record_times`
SHOWN = ("test_accuracy", "adv_test_accuracy", "test_lipschitz", "test_mse", "adv_test_mse")


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What became of the cells of a run.

    Attributes:
        finished: cells computed here.
        elsewhere: cells that another process computed meanwhile.
        failures: cells that raised, here or there.
        left: cells that are still to compute, where the run was stopped.
    """

    finished: int = 0
    elsewhere: int = 0
    failures: tuple[CellFailed, ...] = ()
    left: tuple[Cell, ...] = ()


def run_cells(
    cells: Sequence[Cell],
    bench: Workbench,
    *,
    estimates: Mapping[str, float] | None = None,
    claims: Claims | None = None,
    before: Mapping[str, RecordTimes] | None = None,
) -> Tally:
    """Compute cells one after the other, each once, until all are over or it is time to stop.

    A cell that another process has claimed waits until the others are over; then this one helps to evaluate it, and what that
    process records is taken over.
    With a budget, cheap models of an experiment come first and no cell is begun that is predicted not to fit, as long as there
    is one that does; then the first of the others is begun, for its checkpoint takes it further from one budget to the next.

    Args:
        cells: in the order to compute them; cells of one model adjacent, so that it is loaded once.
        bench: what they share; its `stop` ends the run.
        estimates: predicted seconds by cell id.
        claims: shares the cells with other processes; None where there are none.
        before: when the records of the cells were written before the run that this is a part of; whatever is newer is its
            work. None for a run of its own, which begins now.

    Raises:
        StorageError: records cannot be written; going on would lose work.
    """
    known = estimates or {}
    ordered = cheap_first(cells, known) if bench.stop.limited else cells
    note_earlier_checkpoints(cells, bench)
    schedule = _Schedule(ordered, bench, known, claims, before)
    recorded = recording() if bench.cuda_graphs else nullcontext()
    with deterministic(bench.device), recorded:
        try:
            while schedule.pending:
                schedule.sweep()
        except Stopped:
            _log.debug("stopped with %d cells left", len(schedule.pending))
    return schedule.tally()


def cheap_first(cells: Sequence[Cell], estimates: Mapping[str, float]) -> list[Cell]:
    """Experiments in their order, within each the models by their predicted cost, the cells of a model together."""
    ordered: list[Cell] = []
    for _, experiment in groupby(cells, key=lambda cell: cell.experiment):
        models = [list(model) for _, model in groupby(experiment, key=lambda cell: cell.training.model_id)]
        models.sort(key=lambda model: sum(estimates.get(cell.cell_id, 0.0) for cell in model))
        ordered += [cell for model in models for cell in model]
    return ordered


class _Schedule:
    """The cells that are still to be computed."""

    def __init__(
        self,
        cells: Sequence[Cell],
        bench: Workbench,
        estimates: Mapping[str, float],
        claims: Claims | None,
        before: Mapping[str, RecordTimes] | None,
    ) -> None:
        self.pending = list(cells)
        self._total = len(cells)
        self._bench = dataclasses.replace(bench, claims=claims)
        self._claims = claims
        self._clock = Clock(cells, estimates)
        self._finished = self._elsewhere = 0
        self._waiting = False
        self._looks = 0  # in a row at which there was nothing to do
        self._helped: set[str] = set()
        self._shortage = Shortage(claims)
        self._failures: list[CellFailed] = []
        self._before = before or {cell.cell_id: bench.store.record_times(cell.cell_id) for cell in cells}

    def tally(self) -> Tally:
        return Tally(
            finished=self._finished,
            elsewhere=self._elsewhere,
            failures=tuple(self._failures),
            left=tuple(self.pending),
        )

    def sweep(self) -> None:
        """Go once through the cells; wait a little where all of them are with other processes."""
        progress = False
        for cell in self._shortage.others(self.pending):
            self._bench.stop.check()
            progress |= self._fits(cell) and self._attempt(cell)
        too_long = (cell for cell in self._shortage.others(self.pending) if not self._fits(cell))
        if progress or any(map(self._attempt, too_long)) or self._retry() or self._help():
            self._looks = 0
            return
        self._say_that_it_waits()
        pause = max(POLL_SECONDS, POLL_SECONDS_PER_CELL * len(self.pending)) * POLL_GROWTH**self._looks
        self._bench.stop.wait(min(pause, LONGEST_POLL_SECONDS))
        self._looks = min(self._looks + 1, 20)

    def _retry(self) -> bool:
        """Once all others are over, compute a cell that ran out of memory; one process at a time does that."""
        if not self.pending or self._shortage.others(self.pending):
            return False
        free_memory()
        with self._claim(ALONE) as alone:
            return alone and any(map(self._attempt, tuple(self.pending)))

    def _help(self) -> bool:
        """Compute shards of an evaluation that another process is at, where there is one."""
        for cell in self.pending:
            if cell.cell_id not in self._helped and is_open(cell, self._bench):
                self._helped.add(cell.cell_id)
                self._bench.listener(Note(message=f"  {describe_cell(cell)}: helping the process that evaluates it"))
                try:
                    help_with(cell, self._bench)
                except EvaluationOverError:
                    pass
                except Exception:  # whatever is wrong with the cell is told by the process that records it
                    take_back(cell, self._bench)
                    _log.debug("no help with cell %s", cell.cell_id, exc_info=True)
                return True
        return False

    def _say_that_it_waits(self) -> None:
        if not self._waiting:
            self._waiting = True
            free_memory()
            count = len(self.pending)
            self._bench.listener(Note(message=f"waiting for other processes, which compute the last {count} cells"))

    def _fits(self, cell: Cell) -> bool:
        return self._clock.predicted(cell.cell_id) <= self._bench.stop.seconds_left

    def _attempt(self, cell: Cell) -> bool:
        """Compute a cell, or find it computed; False where another process is at it."""
        with self._claim(cell.cell_id) as mine:
            return mine and (self._was_computed_elsewhere(cell) or self._compute(cell))

    def _compute(self, cell: Cell) -> bool:
        """Compute and record a cell; one that raises is recorded as failed and tried again by the next run."""
        bench, label = self._bench, describe_cell(cell)
        began = time.monotonic()
        try:
            with self._claim_model(cell) as mine:
                if not mine:
                    return False
                self._announce(cell, label)
                trained = train_cell(cell, bench)
            row = renew_flags(cell, trained.model, bench)
            if row is None:
                row = record_cell(cell, trained, evaluate_cell(cell, trained.model, bench), bench)
        except (RankError, StorageError):
            raise
        except Exception as error:
            _log.debug("cell %s failed", cell.cell_id, exc_info=True)
            if self._shortage.put_off(cell, error, self.pending):
                take_back(cell, bench)
                bench.listener(Note(message=f"  {label}: out of memory; tried again, alone, when the others are over"))
                return True
            self._fail(cell, label, record_failure(cell, error, bench))
            return True
        seconds = time.monotonic() - began
        self._finished += 1
        self._finish(cell, seconds)
        bench.listener(CellFinished(cell_id=cell.cell_id, label=label, seconds=seconds, values=shown_values(row)))
        return True

    def _announce(self, cell: Cell, label: str) -> None:
        number, left = self._total - len(self.pending) + 1, self._clock.seconds_left()
        self._bench.listener(
            CellStarted(number=number, total=self._total, cell_id=cell.cell_id, label=label, seconds_left=left)
        )

    def _was_computed_elsewhere(self, cell: Cell) -> bool:
        """Whether another process has recorded the cell, finished or failed, since this run began."""
        store, cell_id = self._bench.store, cell.cell_id
        row = store.recorded_since(cell_id, self._before[cell_id])
        if row is None and self._claims and not self._bench.fresh and is_finished(store, cell_id):
            row = store.read_cell(cell_id)
        if row is None:
            return False
        label = describe_cell(cell)
        if row.status != "ok":
            self._fail(cell, label, row.error)
        elif is_finished(store, cell_id):
            self._elsewhere += 1
            self._finish(cell, None)
            self._bench.listener(Note(message=f"  {label}: computed by another process"))
        else:
            return False
        return True

    def _fail(self, cell: Cell, label: str, error: str) -> None:
        self._finish(cell, None)
        self._failures.append(CellFailed(cell_id=cell.cell_id, label=label, error=error))
        self._bench.listener(self._failures[-1])

    def _finish(self, cell: Cell, seconds: float | None) -> None:
        self._clock.finish(cell.cell_id, seconds)
        self.pending.remove(cell)

    @contextmanager
    def _claim(self, name: str) -> Iterator[bool]:
        if self._claims is None:
            yield True
            return
        with self._claims.held(name) as mine:
            yield mine

    @contextmanager
    def _claim_model(self, cell: Cell) -> Iterator[bool]:
        """Two processes do not train one model; a model at hand needs no claim."""
        if cell.training.model_id in self._bench.trained:
            yield True
            return
        with self._claim(cell.training.model_id) as mine:
            yield mine


def shown_values(row: Row) -> dict[str, float]:
    """The measures of a cell that progress shows, as far as it has them."""
    return {name: getattr(row, name) for name in SHOWN if getattr(row, name) is not None}
