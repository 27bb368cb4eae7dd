"""How many workers share the GPUs of this machine: a small model fills no GPU, so as many as have room, by measured memory.

The first models of a run are tried: one step of their training and one batch of their evaluation, in this process, with what
they take of the GPU's memory measured. What is not tried within some seconds counts by its prediction.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import TYPE_CHECKING, Any

from benchbench.contract import frozen
from benchbench.executors.machine import PROCESS_BYTES
from benchbench.executors.slots import GIB, USABLE, places, visible_gpus
from benchbench.planning.preparing import Prepared

if TYPE_CHECKING:
    from benchbench.cell.model import Cell

_log = logging.getLogger(__name__)
PROBE_SECONDS = 20.0  # after which no further model is tried
ROOM = 1.2  # what a measurement is multiplied by: attacks differ in what they keep
GUESSED = 2.0  # what a prediction is multiplied by, which knows of one pass through the network alone


@dataclasses.dataclass(frozen=True, kw_only=True)
class Share:
    """What a worker needs of a GPU, and how many have room.

    Attributes:
        workers: on all GPUs together, at least one on each.
        gpus: how many there are.
        need_bytes: of one worker, the process included.
        measured: whether the model that needs most was measured, not predicted.
    """

    workers: int
    gpus: int
    need_bytes: int
    measured: bool

    def __str__(self) -> str:
        where = "the GPU" if self.gpus == 1 else f"{self.gpus} GPUs"
        how = "measured" if self.measured else "predicted"
        return f"share {where}, {self.need_bytes / GIB:.1f} GiB each ({how})"


def share_gpus(prepared: Prepared) -> Share:
    """Find how many workers the GPUs have room for.

    Args:
        prepared: a plan with prices, on CUDA, with something to compute.
    """
    import torch

    needs = _needs(prepared)
    torch.cuda.empty_cache()
    gpus = visible_gpus()
    need, measured = max(needs)
    # A worker that needs more than there is has a GPU to itself, and tries what it can.
    need = min(need + PROCESS_BYTES, *(int(USABLE * gpu.memory_bytes) for gpu in gpus))
    return Share(workers=sum(places(gpu, need) for gpu in gpus), gpus=len(gpus), need_bytes=need, measured=measured)


def _needs(prepared: Prepared) -> list[tuple[int, bool]]:
    """Bytes that each kind of model needs, those with the largest predictions first, and whether they were measured."""
    predicted = {p.cell.cell_id: p.price.memory_bytes or 0 for p in prepared.plan.cells if p.cell and p.price}
    kinds: dict[object, Cell] = {}
    for cell in sorted(prepared.plan.ready, key=lambda cell: -predicted.get(cell.cell_id, 0)):
        kinds.setdefault(_kind(cell), cell)
    end, needs = time.monotonic() + PROBE_SECONDS, []
    for cell in kinds.values():
        measured = _measure(cell, prepared) if time.monotonic() < end else None
        guess = int(GUESSED * predicted.get(cell.cell_id, 0))
        needs.append((guess, False) if measured is None else (int(ROOM * measured), True))
    return needs


def _kind(cell: Cell) -> object:
    """What decides about memory: all of a training but its seed and its examples."""
    training = cell.training
    return str((training.dataset, training.architecture, training.defense, training.recipe))


def _measure(cell: Cell, prepared: Prepared) -> int | None:
    """Bytes that a step of a cell's training and a batch of its evaluation take; None where they cannot be tried.

    A model that does not fit by itself takes all there is.
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
    except Exception:  # a plugin may raise anything; whatever is wrong is told when the cell runs
        _log.debug("cell %s cannot be tried", cell.cell_id, exc_info=True)
        return None
    return int(torch.cuda.max_memory_reserved(device)) - before + _held_bytes(cell, prepared)


def _try(cell: Cell, prepared: Prepared) -> None:
    """One step of training, then one batch forward and back."""
    import torch

    from benchbench.contract import Examples
    from benchbench.evaluation.subject import default_batch_size
    from benchbench.harness.cells import build_model, training_examples
    from benchbench.harness.fitting import is_fitted, training_threat
    from benchbench.training import TrainingJob, train

    spec, device = cell.training, prepared.device
    splits = prepared.plan.datasets.splits(spec.dataset)
    chosen, size = training_examples(cell, splits), spec.recipe.batch_size
    defense: Any = prepared.registry.make("defense", spec.defense)
    if is_fitted(defense, splits):
        return
    model = build_model(cell, splits, prepared.registry).to(device)
    job = TrainingJob(
        model=model,
        defense=defense,
        examples=Examples(inputs=chosen.examples.inputs[:size], labels=chosen.examples.labels[:size]),
        rows=chosen.indices[:size],
        threat=training_threat(spec, splits),
        recipe=dataclasses.replace(spec.recipe, epochs=1),
        seed=spec.seed,
        device=device,
    )
    train(job)
    with frozen(model):
        images = torch.zeros(default_batch_size(device), *splits.input_shape, device=device, requires_grad=True)
        torch.autograd.grad(model(images).sum(), images)


def _held_bytes(cell: Cell, prepared: Prepared) -> int:
    """Bytes of the examples that stay on the GPU, which a single step does not need."""
    inputs = prepared.plan.datasets.splits(cell.training.dataset).train.inputs
    each = inputs[0].numel() * inputs.element_size()
    return int(each * (cell.training.n_train + cell.evaluation.n_test))
