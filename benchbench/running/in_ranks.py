"""A run by several ranks: the first one leads, as a process on its own would run, and the others follow its orders."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchbench.errors import RankError
from benchbench.events import CellFailed, Listener
from benchbench.harness.sharing import EvaluateOrder, EvaluationOverError, TrainOrder
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
    from benchbench.records import Row

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _End:
    """The run is over; what the followers return, too."""

    rows: tuple[Row, ...]
    finished: int
    failures: tuple[CellFailed, ...]
    left: int
    stopped: str


def run_in_ranks(
    launch: Launch, request: Request, folders: Folders, *, registry: Registry, listener: Listener, stop: StopRequest
) -> RunResult:
    """Run a suite in several processes that share every model; see `benchbench.api.run`.

    Training is divided batch by batch (data parallel), evaluation shard by shard. Only rank 0 writes, and only its listener
    and its wish to stop count.

    Raises:
        RankError: a rank failed, so that none can go on.
        BenchbenchError: a mistake that the user can mend.
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
        ranks.order(
            _End(
                rows=result.rows,
                finished=result.finished,
                failures=result.failures,
                left=result.left,
                stopped=result.stopped,
            )
        )
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
    plan = prepare(request, folders, device=device, registry=registry).plan
    leaderboard = folders.leaderboard(plan.suite)
    return RunResult(plan=plan, leaderboard=leaderboard, **_fields(end))


def _obey(ranks: Ranks, bench: Workbench) -> _End:
    """Follow orders until the last."""
    while True:
        order = ranks.await_order()
        if isinstance(order, TrainOrder):
            _help_train(order, bench)
        elif isinstance(order, EvaluateOrder):
            _help_evaluate(order, bench)
        elif isinstance(order, _End):
            return order


def _help_train(order: TrainOrder, bench: Workbench) -> None:
    from benchbench.harness.cells import train_cell

    bench.trained.clear()  # the first rank has no model at hand
    try:
        train_cell(order.cell, bench)
    except RankError:
        raise
    except (Exception, Stopped):  # all ranks raise it alike; the first one does about it what is to be done
        _log.debug("cell %s was not trained", order.cell.cell_id, exc_info=True)


def _help_evaluate(order: EvaluateOrder, bench: Workbench) -> None:
    from benchbench.harness.cells import help_with, take_back

    try:
        help_with(order.cell, bench)
    except EvaluationOverError:
        pass
    except Exception:  # the others do without help; whatever is wrong with the cell is told by its owner
        take_back(order.cell, bench)
        _log.debug("no help with cell %s", order.cell.cell_id, exc_info=True)


def _fields(end: _End) -> Mapping[str, Any]:
    return {field.name: getattr(end, field.name) for field in dataclasses.fields(end)}
