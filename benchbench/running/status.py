"""Shows the progress of a suite, from records and claims in the runs folder alone."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchbench.planning import PlannedCell
from benchbench.planning.preparing import Prepared, Request, prepare
from benchbench.records.claims import Claims
from benchbench.settings import find_folders

State = Literal["pending", "running", "done", "failed", "skipped"]
STATES: tuple[State, ...] = ("pending", "running", "done", "failed", "skipped")


@dataclass(frozen=True, kw_only=True)
class CellStatus:
    """The state of a cell."""

    cell_id: str  # empty if the cell's data, and with them its id, are unknown
    label: str  # for people
    state: State  # ``"running"`` if a process holds its claim; ``"failed"`` if it raised and no process retries it
    detail: str = ""  # an error, the reason of a skipped cell, or the process of a running one; else empty


@dataclass(frozen=True, kw_only=True)
class SuiteStatus:
    """The states of all cells of a suite in one profile; the leaderboard has the finished ones."""

    suite: str
    profile: str
    cells: tuple[CellStatus, ...]
    leaderboard: Path

    @property
    def counts(self) -> Mapping[State, int]:
        """Number of cells by state."""
        counted = Counter(cell.state for cell in self.cells)
        return {state: counted[state] for state in STATES}


def find_status(
    suite: str,
    *,
    profile: str | None = None,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    device: str | None = None,
    data: Path | None = None,
    runs: Path | None = None,
    leaderboards: Path | None = None,
) -> SuiteStatus:
    """Find the state of each cell, and update the leaderboard; see `benchbench.api.run`."""
    from benchbench.leaderboard import rebuild

    folders = find_folders(data=data, runs=runs, leaderboards=leaderboards)
    request = Request(suite=suite, profile=profile, only=tuple(only), seeds=tuple(seeds), device=device)
    prepared = prepare(request, folders, unread=True)
    if folders.runs.is_dir():
        prepared.finished.take_over()
        rebuild(prepared.leaderboard, prepared.store, prepared.suite.name)
    claims = Claims(prepared.store.claims)
    return SuiteStatus(
        suite=prepared.suite.name,
        profile=prepared.profile,
        cells=tuple(_state_of(planned, prepared, claims) for planned in prepared.plan.cells),
        leaderboard=prepared.leaderboard,
    )


def summarise_status(status: SuiteStatus) -> Mapping[str, object]:
    """A status as one JSON document."""
    return {
        "suite": status.suite,
        "profile": status.profile,
        "leaderboard": str(status.leaderboard),
        "cells": dict(status.counts),
        "states": [dataclasses.asdict(cell) for cell in status.cells],
    }


def _state_of(planned: PlannedCell, prepared: Prepared, claims: Claims) -> CellStatus:
    from benchbench.leaderboard.names import describe_cell

    cell = planned.cell
    if cell is None:
        state: State = "failed" if planned.status == "failed" else "skipped"
        return CellStatus(cell_id="", label=planned.experiment, state=state, detail=planned.reason)
    state, detail = "pending", ""
    if planned.status == "skipped":
        state, detail = "skipped", planned.reason
    elif planned.status == "done":
        again = prepared.store.read_failure(cell.cell_id)
        state, detail = "done", f"computing it again failed: {again.error}" if again else ""
    elif owner := claims.owner(cell.cell_id):
        state, detail = "running", owner
    elif (row := prepared.store.read_cell(cell.cell_id)) is not None and row.status != "ok":
        state, detail = "failed", row.error
    return CellStatus(cell_id=cell.cell_id, label=describe_cell(cell), state=state, detail=detail)
