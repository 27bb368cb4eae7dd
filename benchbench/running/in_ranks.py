"""A run by several ranks: rank 0 leads like a single process, the others follow orders."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchbench.cell.reading import read_cell
from benchbench.errors import DataError, RankError
from benchbench.events import CellFailed, Listener
from benchbench.planning.datasets import DatasetLoader
from benchbench.planning.preparing import Request, prepare
from benchbench.ranks.launch import Launch, joined, local_device
from benchbench.registry import Registry
from benchbench.running.execution import RunResult, execute, with_prices
from benchbench.settings import Folders, find_device
from benchbench.stopping import Stopped, StopRequest

if TYPE_CHECKING:
    import torch

    from benchbench.cell.model import Cell
    from benchbench.harness.workbench import Workbench
    from benchbench.ranks.group import Ranks

_log = logging.getLogger(__name__)


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
        ranks.order({"end": _pack(result)})
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
    return RunResult(plan=plan, leaderboard=leaderboard, **end)


def _pack(result: RunResult) -> dict[str, object]:
    """What followers return, too, as JSON."""
    from benchbench.records.envelope import pack_row

    return {
        "rows": [pack_row(row, "").decode() for row in result.rows],
        "failures": [dataclasses.asdict(failure) for failure in result.failures],
        "finished": result.finished,
        "left": result.left,
        "stopped": result.stopped,
    }


def _unpack(packed: Mapping[str, Any]) -> dict[str, Any]:
    from benchbench.records.envelope import unpack_row

    rows = tuple(unpack_row(row.encode()) for row in packed["rows"])
    return {**packed, "rows": rows, "failures": tuple(CellFailed(**failure) for failure in packed["failures"])}


def _obey(ranks: Ranks, bench: Workbench) -> dict[str, Any]:
    """Follow orders until the last one; return what it says of the run's result."""
    from benchbench.harness.cells import help_with

    while True:
        order = ranks.await_order()
        try:
            match order:
                case {"train": str(text)}:
                    _help_train(read_cell(text), bench)
                case {"evaluate": str(text)}:
                    help_with(read_cell(text), bench)
                case {"end": dict(packed)}:
                    return _unpack(packed)
                case _:
                    raise DataError("rank 0 gives no such order")
        except (DataError, TypeError, KeyError, AttributeError) as error:
            raise ranks.failed(f"an order cannot be read: {error}") from error


def _help_train(cell: Cell, bench: Workbench) -> None:
    from benchbench.harness.cells import train_cell

    bench.trained.clear()  # rank 0 orders a training only if it has no trained model
    try:
        train_cell(cell, bench)
    except RankError:
        raise
    except (Exception, Stopped):  # every rank raises this; rank 0 handles it
        _log.debug("cell %s was not trained", cell.cell_id, exc_info=True)
