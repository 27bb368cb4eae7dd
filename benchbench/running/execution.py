"""Runs a plan: computes the ready cells, and rebuilds the leaderboard before and after."""

from __future__ import annotations

import dataclasses
import html
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.errors import counted
from benchbench.escaping import printable
from benchbench.events import CellFailed, Listener, Note, RunFinished, RunStarted
from benchbench.planning import Plan
from benchbench.planning.preparing import Prepared
from benchbench.settings import check_writable
from benchbench.stopping import StopRequest

if TYPE_CHECKING:
    from benchbench.executors.crew import Crew
    from benchbench.records import Row, Rows


@dataclass(frozen=True, kw_only=True, repr=False)
class RunResult:
    """The results of a run."""

    plan: Plan  # the cells of the suite, with their states before the run
    rows: tuple[Row, ...]  # the leaderboard rows of the plan's cells, sorted as in the file
    leaderboard: Path  # the Parquet file
    finished: int  # number of cells computed in this run
    failures: tuple[CellFailed, ...] = ()  # cells that raised in this run, with the error
    left: int = 0  # number of remaining cells if the run was stopped
    stopped: str = ""  # why the run was stopped; empty if it was not

    def __repr__(self) -> str:
        counts = (
            f"{counted(len(self.rows), 'row')}, {self.finished} computed now, {self.failed} failed, {self.left} left"
        )
        return f"<RunResult of {self.plan.suite}, profile {self.plan.profile}: {counts}; {self.leaderboard}>"

    def _repr_html_(self) -> str:
        """For notebooks: the counts, then the tables of the rows."""
        from benchbench.leaderboard import paper_tables
        from benchbench.leaderboard.frames import listed

        return f"<p>{html.escape(printable(repr(self)[1:-1]))}</p>{listed(paper_tables(self.rows))._repr_html_()}"

    @property
    def failed(self) -> int:
        """Number of cells that raised or could not be planned."""
        return len(self.failures) + len(self.plan.with_status("failed"))


def with_prices(prepared: Prepared) -> Prepared:
    """Add the predicted cost of the ready cells to a plan."""
    from benchbench.pricing.cells import price

    return dataclasses.replace(prepared, plan=price(prepared.plan, prepared.registry, prepared.device))


def execute(
    prepared: Prepared, *, listener: Listener, stop: StopRequest, crew: Crew | None = None, reason: str = ""
) -> RunResult:
    """Compute a priced plan's ready cells by a crew or this process; rebuild the leaderboard."""
    from benchbench.executors.carrying import carry_out
    from benchbench.executors.crew import Commission
    from benchbench.executors.working import workbench
    from benchbench.harness.scheduling import Tally, run_cells
    from benchbench.leaderboard import rebuild

    began, plan = time.monotonic(), prepared.plan
    board = (prepared.leaderboard, prepared.store, prepared.suite.name)
    estimates = {p.cell.cell_id: p.estimate_seconds for p in plan.cells if p.cell and p.estimate_seconds is not None}
    _announce(prepared, crew, reason, sum(estimates.values()), listener)
    prepared.finished.take_over()
    rows, tally = rebuild(*board), Tally()
    if not prepared.request.fresh:
        _name_known(prepared, rows, listener)
    if plan.ready:
        check_writable(prepared.folders.runs)
        try:
            if crew is None:
                tally = run_cells(plan.ready, workbench(prepared, listener, stop), estimates=estimates)
            else:
                commission = Commission(prepared=prepared, crew=crew, listener=listener, stop=stop, estimates=estimates)
                tally = carry_out(commission)
        finally:  # after an error, too, the leaderboard shows the finished cells
            rows = rebuild(*board)
    stop.is_due()  # workers may notice the end of the budget a moment before this process
    stopped = (stop.reason or "the workers ended") if tally.left else ""
    if tally.left:
        rest = "whose earlier results stand; the same command goes on with what was in training"
        rest = rest if prepared.request.fresh else "the same command goes on from here"
        listener(Note(message=f"{stopped}: {counted(len(tally.left), 'cell')} left, {rest}"))
    finished = RunFinished(
        finished=tally.finished,
        failed=len(tally.failures) + len(plan.with_status("failed")),
        cached=len(plan.with_status("done")) + tally.elsewhere,
        skipped=len(plan.with_status("skipped")),
        seconds=time.monotonic() - began,
    )
    listener(finished)
    planned = {p.cell.cell_id for p in plan.cells if p.cell}
    return RunResult(
        plan=plan,
        rows=tuple(row for row in rows if row.cell_id in planned),
        leaderboard=prepared.leaderboard,
        finished=tally.finished,
        failures=tally.failures,
        left=len(tally.left),
        stopped=stopped,
    )


def _announce(prepared: Prepared, crew: Crew | None, reason: str, seconds: float, listener: Listener) -> None:
    """Report the plan, the reason for the crew, and why some cells cannot be computed."""
    plan = prepared.plan
    skipped, broken = plan.with_status("skipped"), plan.with_status("failed")
    workers = (crew.workers if crew else None) or 1
    started = RunStarted(
        suite=plan.suite,
        profile=plan.profile,
        profile_reason=prepared.reason,
        device=_describe_device(prepared, crew),
        total=len(plan.cells),
        ready=len(plan.ready),
        done=len(plan.with_status("done")),
        skipped=len(skipped),
        estimated_seconds=seconds / workers or None,
    )
    listener(started)
    if reason:
        listener(Note(message=reason))
    gaps = (f"{p.status} {p.experiment}: {p.reason}" for p in (*skipped, *broken))
    for message in dict.fromkeys((*plan.datasets.notes, *gaps)):
        listener(Note(message=message))


def _name_known(prepared: Prepared, rows: Rows, listener: Listener) -> None:
    """Say how many cells are computed though the leaderboard has their rows; name the remedy."""
    finished = {*rows.where(rows.having("status", "ok")).values("cell_id")}
    ready = [cell.cell_id for cell in prepared.plan.ready if cell.cell_id in finished]
    known = sum(prepared.store.finished_row(cell_id) is None for cell_id in ready)
    if known:
        board = prepared.leaderboard
        advice = f"to go on from them instead: benchbench leaderboard restore {board}"
        listener(Note(message=f"{counted(known, 'cell')} to compute again although {board} has the rows; {advice}"))


def _describe_device(prepared: Prepared, crew: Crew | None) -> str:
    from benchbench.records.provenance import describe_device

    if crew is not None:
        return f"{prepared.request.device or prepared.device.type}, by workers of the executor {crew.name}"
    together = f" x {prepared.ranks.count} ranks" if prepared.ranks else ""
    return describe_device(prepared.device) + together


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
