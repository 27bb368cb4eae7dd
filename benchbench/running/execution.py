"""Running a plan: what is ready is computed, and the leaderboard is rebuilt before and after."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.events import CellFailed, Listener, Note, RunFinished, RunStarted
from benchbench.planning import Plan
from benchbench.planning.preparing import Prepared
from benchbench.settings import check_writable
from benchbench.stopping import StopRequest

if TYPE_CHECKING:
    from benchbench.executors.crew import Crew
    from benchbench.harness.scheduling import Tally
    from benchbench.records import Row


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run did.

    Attributes:
        plan: the cells of the suite and what became of them before the run.
        rows: the leaderboard rows of the plan's cells, sorted as in the file.
        leaderboard: the Parquet file.
        finished: cells computed in this run.
        failures: cells that raised in this run, with the error.
        left: cells that are still to compute, because the run was stopped.
        stopped: why it was; empty where it was not.
    """

    plan: Plan
    rows: tuple[Row, ...]
    leaderboard: Path
    finished: int
    failures: tuple[CellFailed, ...] = ()
    left: int = 0
    stopped: str = ""

    @property
    def failed(self) -> int:
        """Cells that raised, and those that could not be planned."""
        return len(self.failures) + len(self.plan.with_status("failed"))


def with_prices(prepared: Prepared) -> Prepared:
    """Fill in what the ready cells of a plan are predicted to take."""
    from benchbench.pricing.cells import price

    return dataclasses.replace(prepared, plan=price(prepared.plan, prepared.registry, prepared.device))


def execute(
    prepared: Prepared,
    *,
    listener: Listener,
    stop: StopRequest,
    crew: Crew | None = None,
    reason: str = "",
) -> RunResult:
    """Compute the ready cells of a plan and rebuild the leaderboard; see `benchbench.api.run`.

    Args:
        prepared: the plan, with prices.
        listener: is told what happens.
        stop: ends the run.
        crew: who computes; None for this process alone.
        reason: why, where the user did not choose; it is told.
    """
    began = time.monotonic()
    run = _Run(prepared=prepared, listener=listener, stop=stop, crew=crew)
    run.announce(reason)
    prepared.finished.take_over()
    rows = run.rebuild()
    tally = run.compute()
    if prepared.plan.ready:
        rows = run.rebuild()
    if tally.left:
        rest = "whose earlier results stand; the same command goes on with what was in training"
        rest = rest if prepared.request.fresh else "the same command goes on from here"
        listener(Note(message=f"{_why(stop)}: {len(tally.left)} cells left, {rest}"))
    run.conclude(tally, time.monotonic() - began)
    mine = {p.cell.cell_id for p in prepared.plan.cells if p.cell}
    return RunResult(
        plan=prepared.plan,
        rows=tuple(row for row in rows if row.cell_id in mine),
        leaderboard=prepared.leaderboard,
        finished=tally.finished,
        failures=tally.failures,
        left=len(tally.left),
        stopped=_why(stop) if tally.left else "",
    )


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A planned run at work."""

    prepared: Prepared
    listener: Listener
    stop: StopRequest
    crew: Crew | None

    @property
    def plan(self) -> Plan:
        return self.prepared.plan

    def announce(self, reason: str) -> None:
        """Say what will be done, why by this process or these workers, and why some of it cannot be."""
        plan, seconds = self.plan, sum(_estimates(self.plan).values())
        skipped, broken = plan.with_status("skipped"), plan.with_status("failed")
        workers = (self.crew.workers if self.crew else None) or 1
        self.listener(
            RunStarted(
                suite=plan.suite,
                profile=plan.profile,
                profile_reason=self.prepared.reason,
                device=self._device(),
                total=len(plan.cells),
                ready=len(plan.ready),
                done=len(plan.with_status("done")),
                skipped=len(skipped),
                estimated_seconds=seconds / workers or None,
            )
        )
        if reason:
            self.listener(Note(message=reason))
        gaps = (f"{p.status} {p.experiment}: {p.reason}" for p in (*skipped, *broken))
        for message in dict.fromkeys((*plan.datasets.notes, *gaps)):
            self.listener(Note(message=message))

    def rebuild(self) -> Sequence[Row]:
        """Bring the leaderboard up to date."""
        from benchbench.leaderboard import rebuild

        return rebuild(self.prepared.leaderboard, self.prepared.store, self.prepared.suite.name)

    def compute(self) -> Tally:
        """Compute what is ready, here or by workers; whatever happens, the leaderboard shows what was done."""
        from benchbench.harness.scheduling import Tally

        if not self.plan.ready:
            return Tally()
        check_writable(self.prepared.folders.runs)
        try:
            return self._compute_here() if self.crew is None else self._commission(self.crew)
        except BaseException:
            self.rebuild()
            raise

    def conclude(self, tally: Tally, seconds: float) -> None:
        """Say what was done."""
        plan = self.plan
        self.listener(
            RunFinished(
                finished=tally.finished,
                failed=len(tally.failures) + len(plan.with_status("failed")),
                cached=len(plan.with_status("done")) + tally.elsewhere,
                skipped=len(plan.with_status("skipped")),
                seconds=seconds,
            )
        )

    def _compute_here(self) -> Tally:
        from benchbench.harness.scheduling import run_cells
        from benchbench.harness.workbench import Workbench
        from benchbench.records.claims import Claims

        prepared = self.prepared
        bench = Workbench(
            registry=prepared.registry,
            store=prepared.store,
            splits=prepared.plan.datasets.splits,
            forget=prepared.plan.datasets.forget,
            device=prepared.device,
            listener=self.listener,
            cuda_graphs=prepared.request.cuda_graphs,
            fresh=prepared.request.fresh,
            stop=self.stop,
            ranks=prepared.ranks,
        )
        return run_cells(
            prepared.plan.ready, bench, estimates=_estimates(prepared.plan), claims=Claims(prepared.store.claims)
        )

    def _commission(self, crew: Crew) -> Tally:
        from benchbench.executors.carrying import Commission, carry_out

        commission = Commission(
            prepared=self.prepared,
            crew=crew,
            listener=self.listener,
            stop=self.stop,
            rebuild=self.rebuild,
        )
        return carry_out(commission, _estimates(self.plan))

    def _device(self) -> str:
        from benchbench.records.provenance import describe_device

        if self.crew is None:
            together = f" x {self.prepared.ranks.count} ranks" if self.prepared.ranks else ""
            return describe_device(self.prepared.device) + together
        return (
            f"{self.prepared.request.device or self.prepared.device.type}, by workers of the executor {self.crew.name}"
        )


def _estimates(plan: Plan) -> Mapping[str, float]:
    return {p.cell.cell_id: p.estimate_seconds for p in plan.cells if p.cell and p.estimate_seconds is not None}


def _why(stop: StopRequest) -> str:
    stop.is_due()  # workers may have seen the end of the budget a moment before this process
    return stop.reason or "the workers ended"


def summarise(result: RunResult) -> Mapping[str, object]:
    """A run as one JSON document."""
    counts = {status: len(result.plan.with_status(status)) for status in ("ready", "done", "skipped", "failed")}
    return {
        "suite": result.plan.suite,
        "profile": result.plan.profile,
        "leaderboard": str(result.leaderboard),
        "cells": {"total": len(result.plan.cells), **counts},
        "finished": result.finished,
        "failed": result.failed,
        "left": result.left,
        "stopped": result.stopped,
        "failures": [{"cell_id": f.cell_id, "label": f.label, "error": f.error} for f in result.failures],
        "not_planned": [
            {"experiment": p.experiment, "status": p.status, "reason": p.reason, "identity": dict(p.identity)}
            for p in (*result.plan.with_status("skipped"), *result.plan.with_status("failed"))
        ],
    }
