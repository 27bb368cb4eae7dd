"""Running a plan: what is ready is computed, and the leaderboard is rebuilt before and after."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.events import CellFailed, Listener, Note, RunFinished, RunStarted
from benchbench.plan import Plan
from benchbench.registry import Registry
from benchbench.settings import Folders, check_writable
from benchbench.stopping import StopRequest
from benchbench.suite import Suite

if TYPE_CHECKING:
    import torch

    from benchbench.records import Row, RunStore
    from benchbench.scheduling import Tally


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


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A suite planned on this machine."""

    registry: Registry
    suite: Suite
    profile: str
    reason: str
    device: torch.device
    store: RunStore
    plan: Plan


def execute(prepared: Prepared, folders: Folders, *, fresh: bool, listener: Listener, stop: StopRequest) -> RunResult:
    """Compute the ready cells of a plan and rebuild the leaderboard; see `benchbench.api.run`."""
    from benchbench.pricing import price
    from benchbench.provenance import describe_device
    from benchbench.scheduling import Tally

    began = time.monotonic()
    plan = price(prepared.plan, prepared.registry, prepared.device)
    skipped, done = plan.with_status("skipped"), plan.with_status("done")
    broken = plan.with_status("failed")
    estimates = {p.cell.cell_id: p.estimate_seconds for p in plan.cells if p.cell and p.estimate_seconds is not None}
    listener(
        RunStarted(
            suite=plan.suite,
            profile=plan.profile,
            profile_reason=prepared.reason,
            device=describe_device(prepared.device),
            total=len(plan.cells),
            ready=len(plan.ready),
            done=len(done),
            skipped=len(skipped),
            estimated_seconds=sum(estimates.values()) or None,
        )
    )
    for message in dict.fromkeys(f"{p.status} {p.experiment}: {p.reason}" for p in (*skipped, *broken)):
        listener(Note(message=message))
    path = folders.leaderboards / f"{plan.suite}.parquet"
    rows = _rebuild(path, prepared)
    tally = Tally()
    if plan.ready:
        check_writable(folders.runs)
        try:
            tally = _compute(prepared, plan, estimates, fresh=fresh, listener=listener, stop=stop)
        finally:
            rows = _rebuild(path, prepared)
    if tally.left:
        listener(Note(message=f"{stop.reason}: {len(tally.left)} cells left, the same command goes on from here"))
    failed = len(tally.failures) + len(broken)
    seconds = time.monotonic() - began
    listener(
        RunFinished(
            finished=tally.finished,
            failed=failed,
            cached=len(done) + tally.elsewhere,
            skipped=len(skipped),
            seconds=seconds,
        )
    )
    mine = {p.cell.cell_id for p in plan.cells if p.cell}
    kept = tuple(row for row in rows if row.cell_id in mine)
    return RunResult(
        plan=plan,
        rows=kept,
        leaderboard=path,
        finished=tally.finished,
        failures=tally.failures,
        left=len(tally.left),
        stopped=stop.reason if tally.left else "",
    )


def _compute(
    prepared: Prepared,
    plan: Plan,
    estimates: Mapping[str, float],
    *,
    fresh: bool,
    listener: Listener,
    stop: StopRequest,
) -> Tally:
    from benchbench.claims import Claims
    from benchbench.harness import Workbench
    from benchbench.scheduling import run_cells

    bench = Workbench(
        registry=prepared.registry,
        store=prepared.store,
        splits=lambda component: plan.datasets.load(component).splits,
        device=prepared.device,
        listener=listener,
        fresh=fresh,
        stop=stop,
    )
    return run_cells(plan.ready, bench, estimates=estimates, claims=Claims(prepared.store.root / "claims"))


def _rebuild(path: Path, prepared: Prepared) -> Sequence[Row]:
    from benchbench.leaderboard import rebuild

    return rebuild(path, prepared.store, prepared.suite.name)


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
