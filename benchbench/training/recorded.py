"""Steps of training that are recorded once and replayed: a small network's hundreds of kernels wait for the host otherwise.

Off unless asked for (`benchbench.kernels.graphs.recording`). What is recorded is a whole step: choosing and augmenting the
batch, the draws, the defense's loss with all of its inner steps, the backward pass and the optimiser's update. The numbers of
the examples and the keys of the draws stand in buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from benchbench.contract import ScheduledDefense, SteppingDefense
from benchbench.contract.seeds import Keys, KeyTable, UnknownDrawError
from benchbench.errors import ContractError
from benchbench.kernels.graphs import WARM_UP, Recorder, Step, not_recording
from benchbench.training.job import TrainingJob


def is_recordable(job: TrainingJob, optimizer: torch.optim.Optimizer) -> bool:
    """Whether all that a step does is done by kernels: the defense says so (``recordable``), and the optimiser is known to.

    Adam that is not fused counts its steps in Python, or where no kernel reads them.
    """
    told = bool(getattr(job.defense, "recordable", False))
    by_python = isinstance(job.defense, (SteppingDefense, ScheduledDefense))
    by_kernels = all(group.get("fused") or isinstance(optimizer, torch.optim.SGD) for group in optimizer.param_groups)
    return told and not by_python and by_kernels


class RecordedSteps:
    """Takes steps of whole batches: plainly at first, which warms up, then by replaying one of them.

    Args:
        job: what is trained.
        optimizer: of the model's parameters.
        learn: takes a step, given where the keys of its draws are and the chosen examples, int64 (N,); returns its totals.
    """

    def __init__(
        self, job: TrainingJob, optimizer: torch.optim.Optimizer, learn: Callable[[Keys, Tensor], Tensor]
    ) -> None:
        self._defense = type(job.defense).__name__
        self._optimizer = optimizer
        self._learn = learn
        self._table = KeyTable(job.device)
        self._keys = self._table.begin(0)
        self._chosen: Tensor | None = None
        self._totals: Tensor | None = None
        self._taken = 0
        self._rates: tuple[float, ...] = ()
        self._replay: Step | None = None

    def take(self, seed: int, chosen: Tensor, recorder: Recorder) -> Tensor:
        """Take one step; returns its totals.

        Args:
            seed: keys the draws.
            chosen: int64 (N,), as many examples as in the other steps.
            recorder: makes a recording of the step, without taking it.

        Raises:
            ContractError: the defense draws something else than it did for the first batches.
        """
        self._chosen = chosen.clone() if self._chosen is None else self._chosen.copy_(chosen)
        self._keys = self._table.begin(seed)
        rates = tuple(float(group["lr"]) for group in self._optimizer.param_groups)
        if rates != self._rates:  # numbers that Python hands to kernels are part of a recording
            self._rates, self._replay = rates, None
        with not_recording():  # of the steps within this one
            if self._taken < WARM_UP:
                self._step()
            else:
                self._replay = self._replay or self._record(recorder)
                self._replay()
        self._taken += 1
        if self._totals is None:
            raise RuntimeError("a step leaves its totals")
        return self._totals.clone()

    def _step(self) -> None:
        if self._chosen is None:
            raise RuntimeError("nothing to learn from")
        totals = self._learn(self._keys, self._chosen)
        self._totals = totals if self._totals is None else self._totals.copy_(totals)

    def _record(self, recorder: Recorder) -> Step:
        self._table.sealed = True
        try:
            with _capturable(self._optimizer):
                return recorder(self._step)
        except UnknownDrawError as error:
            raise ContractError(
                f"{self._defense} says that its steps can be recorded, and draws for this batch what it did not for the first",
                hint="draw alike for every batch, or leave `recordable` False",
            ) from error


@contextmanager
def _capturable(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Tell an optimiser that its update is being recorded; outside of a recording it would complain."""
    told = [group for group in optimizer.param_groups if "capturable" in group and not group["capturable"]]
    for group in told:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in told:
            group["capturable"] = False
