"""Recorded steps of training, replayed so that small networks do not wait for the host.

Off by default (see `benchbench.kernels.graphs.recording`). The recording holds a whole step: choosing and augmenting the
batch, the draws, the defense's loss with its inner steps, the backward pass and the optimiser's update. The numbers of the
examples and the keys of the draws are buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from benchbench.contract import PacedDefense, ScheduledDefense, SteppingDefense
from benchbench.contract.seeds import Keys, KeyTable, UnknownDrawError
from benchbench.errors import ContractError
from benchbench.kernels.graphs import WARM_UP, Recorder, Step, not_recording
from benchbench.training.job import TrainingJob


def is_recordable(job: TrainingJob, optimizer: torch.optim.Optimizer) -> bool:
    """Whether kernels do all of a step: the defense says so, optimiser and recipe allow it.

    A recording holds the learning rate, so it is of no use where each step has another one. Adam that is not fused counts its
    steps in Python, or where no kernel reads them.
    """
    declared = bool(getattr(job.defense, "recordable", False))
    by_python = isinstance(job.defense, (SteppingDefense, ScheduledDefense, PacedDefense))
    by_kernels = all(group.get("fused") or isinstance(optimizer, torch.optim.SGD) for group in optimizer.param_groups)
    return declared and not by_python and by_kernels and not job.recipe.changes_each_step


class RecordedSteps:
    """Takes steps of whole batches: the first ones plainly, to warm up, the others by replay.

    `learn` takes a step with these keys of its draws and these examples, int64 (N,), and returns its totals.
    """

    def __init__(
        self, job: TrainingJob, optimizer: torch.optim.Optimizer, learn: Callable[[Keys, Tensor], Tensor]
    ) -> None:
        self._defense = type(job.defense).__name__
        self._optimizer = optimizer
        self._learn = learn
        self._table = KeyTable(job.device)
        self._keys = self._table.begin(0)
        self._chosen = self._totals = torch.empty(0)  # the first step sets these buffers
        self._taken = 0
        self._rates: tuple[float, ...] = ()
        self._replay: Step | None = None

    def take(self, seed: int, chosen: Tensor, recorder: Recorder) -> Tensor:
        """Take one step and return its totals; `chosen`, int64 (N,), has the same N in every step."""
        self._chosen = self._chosen.copy_(chosen) if self._taken else chosen.clone()
        self._keys = self._table.begin(seed)
        rates = tuple(float(group["lr"]) for group in self._optimizer.param_groups)
        if rates != self._rates:  # a recording includes the numbers that Python passes to kernels
            self._rates, self._replay = rates, None
        with not_recording():  # inner steps are part of this one
            if self._taken < WARM_UP:
                self._step()
            else:
                self._replay = self._replay or self._record(recorder)
                self._replay()
        self._taken += 1
        return self._totals.clone()

    def _step(self) -> None:
        totals = self._learn(self._keys, self._chosen)
        self._totals = self._totals.copy_(totals) if self._taken else totals

    def _record(self, recorder: Recorder) -> Step:
        self._table.sealed = True
        try:
            with _capturable(self._optimizer):
                return recorder(self._step)
        except UnknownDrawError as error:
            raise ContractError(
                f"{self._defense} says that its steps can be recorded, and makes other draws than for the first batches",
                hint="make the same draws for every batch, or leave `recordable` False",
            ) from error


@contextmanager
def _capturable(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Set an optimiser's option for updates that are recorded; outside of a recording it warns."""
    changed = [group for group in optimizer.param_groups if "capturable" in group and not group["capturable"]]
    for group in changed:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in changed:
            group["capturable"] = False
