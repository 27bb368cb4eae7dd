"""Prepare a run: read the suite, find the device, and plan every cell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from benchbench.errors import UsageError, suggest
from benchbench.kernels.arithmetic import Precision
from benchbench.planning import Plan, make_plan
from benchbench.registry import Registry, load_registry
from benchbench.settings import Folders, device_kind, find_device
from benchbench.suite import Suite, read_suite

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from benchbench.ranks.group import Ranks
    from benchbench.records import FinishedCells, RunStore


@dataclass(frozen=True, kw_only=True)
class Request:
    """The cells of a suite to compute, and how; see `benchbench.api.run`."""

    suite: str
    profile: str | None = None
    only: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    device: str | None = None
    download: bool = False
    fresh: bool = False
    precision: Precision = "float32"
    train_precision: Precision | None = None
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        if wrong := [seed for seed in self.seeds if not 0 <= seed < 2**63]:
            raise UsageError(f"a seed must be at least 0 and below 2**63, got {wrong[0]}")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A suite planned on this machine."""

    request: Request  # which cells, and how
    folders: Folders  # where data is read and results are recorded
    registry: Registry
    suite: Suite
    profile: str
    reason: str  # why the profile was chosen; empty if the request names it
    named_device: torch.device | None  # None: as the request says
    store: RunStore
    plan: Plan
    finished: FinishedCells  # the recorded cells; it can record those that have other labels under the suite's labels
    ranks: Ranks | None = None  # processes that share every model with this one, or None

    @cached_property
    def device(self) -> torch.device:
        """Where the cells are computed."""
        return self.named_device or find_device(self.request.device)

    @property
    def leaderboard(self) -> Path:
        """The Parquet file of the suite."""
        return self.folders.leaderboard(self.suite.name)


def prepare(
    request: Request,
    folders: Folders,
    *,
    device: torch.device | None = None,
    registry: Registry | None = None,
    unread: bool = False,
) -> Prepared:
    """Plan a request's cells, by default for its device, with all plugins and recorded cells.

    If `unread`, data of known content is not read; see `make_plan`.
    """
    from benchbench.records import FinishedCells, RunStore

    registry = registry or load_registry()
    suite = read_suite(request.suite, registry)
    kind = (request.device or device.type).partition(":")[0] if device else device_kind(request.device)
    profile, reason = choose_profile(suite, request.profile, kind)
    store = RunStore(folders.runs)
    finished = FinishedCells(store)
    plan = make_plan(
        suite,
        registry,
        profile=profile,
        seeds=request.seeds or None,
        only=request.only,
        source=folders.source(download=request.download),
        precision=request.precision,
        train_precision=request.train_precision,
        done=(lambda _: False) if request.fresh else finished.__contains__,
        unread=unread,
    )
    return Prepared(
        request=request,
        folders=folders,
        registry=registry,
        suite=suite,
        profile=profile,
        reason=reason,
        named_device=device,
        store=store,
        plan=plan,
        finished=finished,
    )


def choose_profile(suite: Suite, named: str | None, device: str) -> tuple[str, str]:
    """The profile to run, and the reason if the user did not name it."""
    if named is not None:
        if named not in suite.profiles:
            hint = suggest(named, suite.profiles)
            raise UsageError(f"suite {suite.name!r} has no profile {named!r}", hint=hint)
        return named, ""
    usual = "paper" if device == "cuda" else "quick"
    if usual in suite.profiles:
        return usual, f"chosen because the device is {device}; --profile overrides"
    return suite.profiles[0], f"the suite has no {usual} profile"
