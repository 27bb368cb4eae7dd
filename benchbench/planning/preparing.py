"""Preparing a run: the suite is read, the device found, and every cell planned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.errors import UsageError, suggest
from benchbench.kernels.arithmetic import Precision
from benchbench.planning import Plan, make_plan
from benchbench.registry import Registry, load_registry
from benchbench.settings import Folders, find_device
from benchbench.suite import Suite, read_suite

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from benchbench.cell.model import Cell
    from benchbench.ranks.group import Ranks
    from benchbench.records import FinishedCells, RunStore


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which cells of which suite, and how; see `benchbench.api.run`."""

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


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A suite planned on this machine.

    Attributes:
        reason: why the profile was chosen, in words; empty when it was asked for.
        finished: what the plan was asked to leave out, as far as it is recorded; it records what is so under other labels.
        ranks: processes that share every model with this one; None where there are none.
    """

    registry: Registry
    suite: Suite
    profile: str
    reason: str
    device: torch.device
    store: RunStore
    plan: Plan
    finished: FinishedCells
    ranks: Ranks | None = None


def prepare(
    request: Request,
    folders: Folders,
    *,
    device: torch.device | None = None,
    done: Callable[[Cell], bool] | None = None,
    registry: Registry | None = None,
) -> Prepared:
    """Plan what is asked for.

    Args:
        request: what is asked for.
        folders: where.
        device: what to plan on; None for the one that the request names.
        registry: the plugins; None to discover them.
        done: tells whether a cell is done; None asks the records, unless the request is for a fresh run.

    Raises:
        BenchbenchError: a mistake that the user can mend.
    """
    from benchbench.records import FinishedCells, RunStore

    registry = registry or load_registry()
    suite = read_suite(request.suite, registry)
    where = device or find_device(request.device)
    profile, reason = choose_profile(suite, request.profile, (request.device or where.type).partition(":")[0])
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
        done=done or ((lambda _: False) if request.fresh else finished.__contains__),
    )
    return Prepared(
        registry=registry,
        suite=suite,
        profile=profile,
        reason=reason,
        device=where,
        store=store,
        plan=plan,
        finished=finished,
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
