"""Runs cells in order, shared with other processes and within a budget; records failures."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby

from benchbench.atomic import full_disk
from benchbench.cell.model import Cell
from benchbench.errors import PLUGIN_FAULTS, RankError, StorageError, counted
from benchbench.events import CellFailed, CellFinished, CellStarted, Note
from benchbench.harness.cells import (
    checkpoint_times,
    help_with,
    record_cell,
    record_failure,
    take_back,
    train_cell,
)
from benchbench.harness.clock import Clock
from benchbench.harness.evaluating import evaluate_cell, is_open
from benchbench.harness.renewing import renew_flags
from benchbench.harness.shortage import ALONE, Shortage, free_memory
from benchbench.harness.workbench import Workbench
from benchbench.kernels.determinism import deterministic
from benchbench.kernels.graphs import recording
from benchbench.leaderboard.names import describe_cell
from benchbench.records import Row, is_finished
from benchbench.stopping import Stopped

_log = logging.getLogger(__name__)
POLL_SECONDS = 1.0
POLL_SECONDS_PER_CELL = 0.01
LONGEST_POLL_SECONDS = 30.0  # a thousand processes that poll every second would overload a file system
POLL_GROWTH = 1.5
RecordTimes = tuple[int | None, int | None]  # see `RunStore.record_times`
SHOWN = ("test_accuracy", "adv_test_accuracy", "test_lipschitz", "test_mse", "adv_test_mse")


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The results of a run."""

    finished: int = 0  # number of cells computed here
    elsewhere: int = 0  # number of cells that other processes computed meanwhile
    failures: tuple[CellFailed, ...] = ()  # cells that raised, here or elsewhere
    left: tuple[Cell, ...] = ()  # remaining cells if the run was stopped


def run_cells(
    cells: Sequence[Cell],
    bench: Workbench,
    *,
    estimates: Mapping[str, float] | None = None,
    before: Mapping[str, RecordTimes] | None = None,
) -> Tally:
    """Compute cells one after the other, each once, until all are over or it is time to stop.

    Cells that other processes have claimed come last: this process helps to evaluate them, and counts what the owner records.
    With a budget, cheap models of an experiment come first, and cells that are predicted not to fit come after those that do.
    When none fits, the first one is started nevertheless: its checkpoint saves the work for the next budget. If records cannot
    be written, a StorageError ends the run, because going on would lose work.

    Args:
        cells: in the order to compute them; cells of one model are adjacent, so that it is loaded once.
        bench: shared by the cells; its `stop` ends the run.
        estimates: predicted seconds by cell id.
        before: when the records of the cells were written before the run began; newer ones are results of the run. None for
            a run that begins now.
    """
    known = estimates or {}
    ordered = cheap_first(cells, known) if bench.stop.limited else cells
    # In a fresh run one process retrains each model; the others recognise its checkpoint as newer than these.
    unknown = [cell for cell in cells if cell.training.model_id not in bench.earlier]
    bench.earlier.update(checkpoint_times(unknown, bench.store))
    schedule = _Schedule(ordered, bench, known, before)
    recorded = recording() if bench.cuda_graphs else nullcontext()
    with deterministic(bench.device), recorded:
        try:
            while schedule.pending:
                schedule.sweep()
        except Stopped:
            _log.debug("stopped with %d cells left", len(schedule.pending))
    return schedule.tally()


def cheap_first(cells: Sequence[Cell], estimates: Mapping[str, float]) -> list[Cell]:
    """Sort the models of each experiment by predicted cost; cells of a model stay adjacent."""
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
        before: Mapping[str, RecordTimes] | None,
    ) -> None:
        self.pending = list(cells)
        self._total = len(cells)
        self._bench = bench
        self._clock = Clock(cells, estimates)
        self._finished = self._elsewhere = 0
        self._waiting = False
        self._looks = 0  # consecutive sweeps without work
        self._helped: set[str] = set()
        self._shortage = Shortage(bench.claims)
        self._failures: list[CellFailed] = []
        self._before = before or {cell.cell_id: bench.store.record_times(cell.cell_id) for cell in cells}

    def tally(self) -> Tally:
        return Tally(
            finished=self._finished, elsewhere=self._elsewhere, failures=tuple(self._failures), left=tuple(self.pending)
        )

    def sweep(self) -> None:
        """Try each pending cell once; wait a little if other processes hold all of them."""
        progress = False
        for cell in self._shortage.others(self.pending):
            self._bench.stop.check()
            progress |= self._fits(cell) and self._attempt(cell)
        too_long = (cell for cell in self._shortage.others(self.pending) if not self._fits(cell))
        if progress or any(map(self._attempt, too_long)) or self._retry() or self._help():
            self._looks = 0
            return
        if not self._waiting:
            self._waiting = True
            free_memory()
            message = f"waiting for other processes, which compute the last {counted(len(self.pending), 'cell')}"
            self._bench.listener(Note(message=message))
        pause = max(POLL_SECONDS, POLL_SECONDS_PER_CELL * len(self.pending)) * POLL_GROWTH**self._looks
        self._bench.stop.wait(min(pause, LONGEST_POLL_SECONDS))
        self._looks = min(self._looks + 1, 20)

    def _retry(self) -> bool:
        """When all other cells are over, retry one that ran out of memory, one process at a time."""
        if not self.pending or self._shortage.others(self.pending):
            return False
        free_memory()
        with self._claim(ALONE) as alone:
            return alone and any(map(self._attempt, tuple(self.pending)))

    def _help(self) -> bool:
        """Compute shards of an evaluation of another process, if one is open."""
        for cell in self.pending:
            if cell.cell_id not in self._helped and is_open(cell, self._bench):
                self._helped.add(cell.cell_id)
                self._bench.listener(Note(message=f"  {describe_cell(cell)}: helping the process that evaluates it"))
                help_with(cell, self._bench)
                return True
        return False

    def _fits(self, cell: Cell) -> bool:
        return self._clock.predicted(cell.cell_id) <= self._bench.stop.seconds_left

    def _attempt(self, cell: Cell) -> bool:
        """Compute and record a cell, unless it is recorded; False if another process claims it.

        A cell that raises is recorded as failed, and the next run retries it.
        """
        bench, label = self._bench, describe_cell(cell)
        with self._claim(cell.cell_id) as mine:
            if not mine or self._was_computed_elsewhere(cell):
                return mine
            began = time.monotonic()
            try:
                with self._claim(cell.training.model_id) as mine:
                    if not mine:
                        return False
                    total, left = self._total, self._clock.seconds_left()
                    number = total - len(self.pending) + 1
                    bench.listener(
                        CellStarted(number=number, total=total, cell_id=cell.cell_id, label=label, seconds_left=left)
                    )
                    trained = train_cell(cell, bench)
                row = renew_flags(cell, trained.model, bench)
                if row is None:
                    row = record_cell(cell, trained, evaluate_cell(cell, trained.model, bench), bench)
            except (RankError, StorageError):
                raise
            except PLUGIN_FAULTS as error:
                if full := full_disk(error):
                    raise full from error
                self._take_failure(cell, label, error)
                return True
            seconds = time.monotonic() - began
            self._finished += 1
            self._finish(cell, seconds)
            bench.listener(CellFinished(cell_id=cell.cell_id, label=label, seconds=seconds, values=shown_values(row)))
            return True

    def _take_failure(self, cell: Cell, label: str, error: BaseException) -> None:
        """Put the cell off if memory was short, else record its failure."""
        _log.debug("cell %s failed", cell.cell_id, exc_info=True)
        if self._shortage.put_off(cell, error, self.pending):
            take_back(cell, self._bench)
            message = f"  {label}: out of memory; tried again, alone, when the others are over"
            self._bench.listener(Note(message=message))
        else:
            self._fail(cell, label, record_failure(cell, error, self._bench))

    def _was_computed_elsewhere(self, cell: Cell) -> bool:
        """Whether another process has recorded the cell, finished or failed, since this run began."""
        store, cell_id = self._bench.store, cell.cell_id
        row = store.recorded_since(cell_id, self._before[cell_id])
        if row is None and self._bench.claims and not self._bench.fresh and is_finished(store, cell_id):
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
        # no claim is needed without other processes, nor for a model that is trained already
        if self._bench.claims is None or name in self._bench.trained:
            yield True
            return
        with self._bench.claims.held(name) as mine:
            yield mine


def shown_values(row: Row) -> dict[str, float]:
    """The measures of a cell that progress shows, if they exist."""
    return {name: getattr(row, name) for name in SHOWN if getattr(row, name) is not None}
