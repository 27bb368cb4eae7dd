"""Finds how many workers have room on the GPUs: a small model does not fill a GPU.

The first models of a run are tried in this process: one step of their training and one batch of their evaluation, while the
GPU's memory is measured. For models that are not tried within some seconds, the prediction counts.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import TYPE_CHECKING

from benchbench.contract import frozen
from benchbench.executors.machine import PROCESS_BYTES
from benchbench.executors.slots import GIB, USABLE, places, visible_gpus
from benchbench.planning.preparing import Prepared

if TYPE_CHECKING:
    from benchbench.cell.model import Cell

_log = logging.getLogger(__name__)
PROBE_SECONDS = 20.0  # no further model is tried afterwards
ROOM = 1.2  # factor on a measurement: attacks keep different amounts
GUESSED = 2.0  # factor on a prediction, which covers only one pass through the network


@dataclasses.dataclass(frozen=True, kw_only=True)
class Share:
    """The memory of a worker on a GPU, and the number of workers that have room."""

    workers: int  # on all GPUs together, at least one on each
    gpus: int  # their number
    need_bytes: int  # of one worker, including the process
    measured: bool  # whether the largest need was measured, not predicted

    def __str__(self) -> str:
        where = "the GPU" if self.gpus == 1 else f"{self.gpus} GPUs"
        how = "measured" if self.measured else "predicted"
        return f"share {where}, {self.need_bytes / GIB:.1f} GiB each ({how})"


def share_gpus(prepared: Prepared) -> Share:
    """Find the room for workers, for a plan with prices and ready cells on CUDA."""
    import torch

    needs = _needs(prepared)
    torch.cuda.empty_cache()
    gpus = visible_gpus()
    need, measured = max(needs)
    # A worker that needs more than a GPU has gets one for itself, and tries.
    need = min(need + PROCESS_BYTES, *(int(USABLE * gpu.memory_bytes) for gpu in gpus))
    return Share(workers=sum(places(gpu, need) for gpu in gpus), gpus=len(gpus), need_bytes=need, measured=measured)


def _needs(prepared: Prepared) -> list[tuple[int, bool]]:
    """Bytes that each kind of model needs, and whether they were measured."""
    predicted = {p.cell.cell_id: p.price.memory_bytes or 0 for p in prepared.plan.cells if p.cell and p.price}
    kinds: dict[str, Cell] = {}
    for cell in sorted(prepared.plan.ready, key=lambda cell: -predicted.get(cell.cell_id, 0)):
        spec = cell.training  # its seed and its examples do not change the memory
        kinds.setdefault(str((spec.dataset, spec.architecture, spec.defense, spec.recipe)), cell)
    end, needs = time.monotonic() + PROBE_SECONDS, []
    for cell in kinds.values():
        measured = _measure(cell, prepared) if time.monotonic() < end else None
        guess = int(GUESSED * predicted.get(cell.cell_id, 0))
        needs.append((guess, False) if measured is None else (int(ROOM * measured), True))
    return needs


def _measure(cell: Cell, prepared: Prepared) -> int | None:
    """Bytes that a step of training and a batch of evaluation take; None after an error.

    A model that does not fit on the GPU takes all of its memory.
    """
    import torch

    device = prepared.device
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    try:
        with torch.random.fork_rng(devices=[device]):
            _try(cell, prepared)
    except torch.OutOfMemoryError:
        return int(torch.cuda.mem_get_info(device)[1])
    except Exception:  # a plugin may raise anything; the cell reports the error when it runs
        _log.debug("cell %s cannot be tried", cell.cell_id, exc_info=True)
        return None
    return int(torch.cuda.max_memory_reserved(device)) - before + _held_bytes(cell, prepared)


def _try(cell: Cell, prepared: Prepared) -> None:
    """Train one step, then pass one batch forward and back."""
    import torch

    from benchbench.contract import Examples
    from benchbench.evaluation.subject import default_batch_size
    from benchbench.harness.cells import training_job
    from benchbench.harness.fitting import trains_in_steps
    from benchbench.training import train

    spec, device = cell.training, prepared.device
    splits = prepared.plan.datasets.splits(spec.dataset)
    defense, size = prepared.registry.make("defense", spec.defense), spec.recipe.batch_size
    if not trains_in_steps(defense, splits):
        return
    whole = training_job(cell, defense, splits, prepared.registry, device)
    batch = Examples(inputs=whole.examples.inputs[:size], labels=whole.examples.labels[:size])
    recipe = dataclasses.replace(spec.recipe, epochs=1)
    model = train(dataclasses.replace(whole, examples=batch, rows=whole.rows[:size], recipe=recipe)).model
    with frozen(model):
        images = torch.zeros(default_batch_size(device), *splits.input_shape, device=device, requires_grad=True)
        torch.autograd.grad(model(images).sum(), images)


def _held_bytes(cell: Cell, prepared: Prepared) -> int:
    """Bytes of the examples that stay on the GPU; a single step does not need all of them."""
    inputs = prepared.plan.datasets.splits(cell.training.dataset).train.inputs
    each = inputs[0].numel() * inputs.element_size()
    return int(each * (cell.training.n_train + cell.evaluation.n_test))
