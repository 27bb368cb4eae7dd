"""The Python API: what the commands do, for notebooks and other programs."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchbench.contract import DataSource
from benchbench.errors import UsageError, suggest
from benchbench.events import CellFailed, Listener, Note, RunFinished, RunStarted, ignore
from benchbench.plan import Plan, make_plan
from benchbench.registry import Registry, load_registry
from benchbench.settings import Folders, check_writable, find_device, find_folders
from benchbench.suite import Suite, read_suite

if TYPE_CHECKING:
    import torch

    from benchbench.records import Row, RunStore
    from benchbench.separation import SeparationReport


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run did.

    Attributes:
        plan: the cells of the suite and what became of them before the run.
        rows: the leaderboard rows of the plan's cells, sorted as in the file.
        leaderboard: the Parquet file.
        finished: cells computed in this run.
        failures: cells that raised in this run, with the error.
    """

    plan: Plan
    rows: tuple[Row, ...]
    leaderboard: Path
    finished: int
    failures: tuple[CellFailed, ...] = ()

    @property
    def failed(self) -> int:
        """Cells that raised, and those that could not be planned."""
        return len(self.failures) + len(self.plan.with_status("failed"))


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """A suite planned on this machine."""

    registry: Registry
    suite: Suite
    profile: str
    reason: str
    device: torch.device
    store: RunStore
    plan: Plan


def run(
    suite: str,
    *,
    profile: str | None = None,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    device: str | None = None,
    data: Path | None = None,
    runs: Path | None = None,
    leaderboards: Path | None = None,
    download: bool = False,
    fresh: bool = False,
    listener: Listener = ignore,
) -> RunResult:
    """Train, attack and measure the cells of a suite that are not done yet, and rebuild its leaderboard.

    Args:
        suite: a name, or the path of a TOML file.
        profile: ``"paper"``, ``"quick"`` or another one of the suite; None for paper on CUDA, quick otherwise.
        only: filters such as ``"defense=trades,at"``.
        seeds: seeds of the runs; empty for the suite's.
        device: ``"cpu"``, ``"cuda"`` or ``"mps"``; None for CUDA if there is one.
        data: data root in torchvision's layout; None for ``BENCHBENCH_DATA``.
        runs: folder of checkpoints and records; None for the one below ``BENCHBENCH_HOME``.
        leaderboards: folder of the Parquet files; None for ``./leaderboards``.
        download: whether missing datasets may be fetched.
        fresh: compute every cell anew.
        listener: is told what happens, see `benchbench.events`.

    Raises:
        BenchbenchError: a mistake that the user can mend, before anything is computed.
    """
    folders = find_folders(data=data, runs=runs, leaderboards=leaderboards)
    prepared = _prepare(
        suite, profile, only=only, seeds=seeds, device=device, folders=folders, download=download, fresh=fresh
    )
    return _execute(prepared, folders, fresh=fresh, listener=listener)


def plan(
    suite: str,
    *,
    profile: str | None = None,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    device: str | None = None,
    data: Path | None = None,
    runs: Path | None = None,
    download: bool = False,
) -> Plan:
    """What `run` would do (same arguments), with the predicted seconds of each ready cell."""
    from benchbench.pricing import price

    folders = find_folders(data=data, runs=runs)
    prepared = _prepare(
        suite, profile, only=only, seeds=seeds, device=device, folders=folders, download=download, fresh=False
    )
    return price(prepared.plan, prepared.registry, prepared.device)


def separation(
    dataset: str | Mapping[str, Any],
    *,
    random_labels: bool = False,
    exclude: Collection[int] = (),
    epsilon: float | None = None,
    pairs: int = 5,
    seed: int = 0,
    data: Path | None = None,
    download: bool = False,
) -> SeparationReport:
    """How far apart the classes of a dataset are, exactly: `benchbench.separation.measure` for a dataset by name.

    Args:
        dataset: a name, or a mapping of ``name`` and options.
        random_labels: draw each label uniformly instead (Table 8).
        exclude: indices of training examples to leave out.
        epsilon: attack radius to compare with; None for the paper's protocol where it has the dataset.
        pairs: how many closest pairs to keep.
        seed: of the random labels.
        data: data root; None for ``BENCHBENCH_DATA``.
        download: whether a missing dataset may be fetched.

    Raises:
        UsageError: an unknown dataset or option, an excluded index that does not exist, a negative epsilon.
        MissingDataError: the data is not there.
        DataError: it is damaged, or for regression.
    """
    from benchbench.data import load_dataset
    from benchbench.lookup import find_component, protocol_threat
    from benchbench.separation import measure

    registry = load_registry()
    source = find_folders(data=data).source(download=download)
    component = find_component(registry, "dataset", dataset)
    if epsilon is None:
        threat = protocol_threat(registry, component.name)
        epsilon = threat.epsilon if threat else None
    splits = load_dataset(registry, component, source).splits
    return measure(splits, random_labels=random_labels, exclude=exclude, epsilon=epsilon, pairs=pairs, seed=seed)


def _prepare(
    name: str,
    profile: str | None,
    *,
    only: Sequence[str],
    seeds: Sequence[int],
    device: str | None,
    folders: Folders,
    download: bool,
    fresh: bool,
) -> _Prepared:
    from benchbench.records import RunStore

    registry = load_registry()
    suite = read_suite(name, registry)
    where = find_device(device)
    chosen, reason = choose_profile(suite, profile, where.type)
    store = RunStore(folders.runs)
    source: DataSource = folders.source(download=download)
    made = make_plan(
        suite,
        registry,
        profile=chosen,
        seeds=tuple(seeds) or None,
        only=tuple(only),
        source=source,
        done=(lambda _: False) if fresh else store.is_done,
    )
    return _Prepared(
        registry=registry, suite=suite, profile=chosen, reason=reason, device=where, store=store, plan=made
    )


def choose_profile(suite: Suite, asked: str | None, device: str) -> tuple[str, str]:
    """The profile to run and why, in words.

    Raises:
        UsageError: the suite has no such profile.
    """
    if asked is not None:
        if asked not in suite.profiles:
            hint = suggest(asked, suite.profiles)
            raise UsageError(f"suite {suite.name!r} has no profile {asked!r}", hint=hint)
        return asked, ""
    wanted = "paper" if device == "cuda" else "quick"
    if wanted in suite.profiles:
        return wanted, f"chosen because the device is {device}; --profile overrides"
    return suite.profiles[0], f"the suite has no {wanted} profile"


def _execute(prepared: _Prepared, folders: Folders, *, fresh: bool, listener: Listener) -> RunResult:
    from benchbench.harness import Tally, Workbench, run_cells
    from benchbench.pricing import price
    from benchbench.provenance import describe_device

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
        bench = Workbench(
            registry=prepared.registry,
            store=prepared.store,
            splits=lambda component: plan.datasets.load(component).splits,
            device=prepared.device,
            listener=listener,
            fresh=fresh,
        )
        try:
            tally = run_cells(plan.ready, bench, estimates=estimates)
        finally:
            rows = _rebuild(path, prepared)
    failed = len(tally.failures) + len(broken)
    seconds = time.monotonic() - began
    listener(
        RunFinished(finished=tally.finished, failed=failed, cached=len(done), skipped=len(skipped), seconds=seconds)
    )
    mine = {p.cell.cell_id for p in plan.cells if p.cell}
    kept = tuple(row for row in rows if row.cell_id in mine)
    return RunResult(plan=plan, rows=kept, leaderboard=path, finished=tally.finished, failures=tally.failures)


def _rebuild(path: Path, prepared: _Prepared) -> Sequence[Row]:
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
        "failures": [{"cell_id": f.cell_id, "label": f.label, "error": f.error} for f in result.failures],
        "not_planned": [
            {"experiment": p.experiment, "status": p.status, "reason": p.reason, "identity": dict(p.identity)}
            for p in (*result.plan.with_status("skipped"), *result.plan.with_status("failed"))
        ],
    }
