"""A run by several ranks: rank 0 leads like a single process, the others follow orders."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchbench.errors import RankError
from benchbench.events import Listener
from benchbench.harness.sharing import EvaluateOrder, TrainOrder
from benchbench.planning.datasets import DatasetLoader
from benchbench.planning.preparing import Request, prepare
from benchbench.ranks.launch import Launch, joined, local_device
from benchbench.registry import Registry
from benchbench.running.execution import RunResult, execute, with_prices
from benchbench.settings import Folders, find_device
from benchbench.stopping import Stopped, StopRequest

if TYPE_CHECKING:
    import torch

    from benchbench.harness.workbench import Workbench
    from benchbench.ranks.group import Ranks

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _End:
    """The run is over; followers return these fields of the leader's `RunResult`, too."""

    fields: Mapping[str, Any]


def run_in_ranks(
    launch: Launch, request: Request, folders: Folders, *, registry: Registry, listener: Listener, stop: StopRequest
) -> RunResult:
    """Run a suite in several processes that share every model; see `benchbench.api.run`.

    The ranks divide each batch of a training (data parallel) and the shards of an evaluation. Only rank 0 writes, and only its
    listener and its stop request count. If a rank fails, none can continue: a RankError.
    """
    device = local_device(find_device(request.device), launch)
    with joined(launch, device) as ranks:
        if not ranks.leads:
            return _follow(ranks, request, folders, device, registry)
        try:
            prepared = dataclasses.replace(prepare(request, folders, device=device, registry=registry), ranks=ranks)
            result = execute(with_prices(prepared), listener=listener, stop=stop)
        except BaseException as error:
            ranks.failed(" ".join(str(error).split()) or type(error).__name__)
            raise
        names = ("rows", "finished", "failures", "left", "stopped")
        ranks.order(_End(fields={name: getattr(result, name) for name in names}))
        return result


def _follow(ranks: Ranks, request: Request, folders: Folders, device: torch.device, registry: Registry) -> RunResult:
    from benchbench.harness.workbench import Workbench
    from benchbench.kernels.determinism import deterministic
    from benchbench.records import RunStore
    from benchbench.records.claims import Claims

    datasets, store = DatasetLoader(registry, folders.source()), RunStore(folders.runs)
    bench = Workbench(
        registry=registry,
        store=store,
        splits=datasets.splits,
        forget=datasets.forget,
        device=device,
        fresh=request.fresh,
        claims=Claims(store.claims),
        ranks=ranks,
    )
    with deterministic(device):
        end = _obey(ranks, bench)
    # planned only now: before, all ranks would download and prepare the data at the same time
    plan = prepare(request, folders, device=device, registry=registry).plan
    leaderboard = folders.leaderboard(plan.suite)
    return RunResult(plan=plan, leaderboard=leaderboard, **end.fields)


def _obey(ranks: Ranks, bench: Workbench) -> _End:
    from benchbench.harness.cells import help_with

    while True:
        order = ranks.await_order()
        if isinstance(order, TrainOrder):
            _help_train(order, bench)
        elif isinstance(order, EvaluateOrder):
            help_with(order.cell, bench)
        elif isinstance(order, _End):
            return order


def _help_train(order: TrainOrder, bench: Workbench) -> None:
    from benchbench.harness.cells import train_cell

    bench.trained.clear()  # rank 0 orders a training only if it has no trained model
    try:
        train_cell(order.cell, bench)
    except RankError:
        raise
    except (Exception, Stopped):  # every rank raises this; rank 0 handles it
        _log.debug("cell %s was not trained", order.cell.cell_id, exc_info=True)
