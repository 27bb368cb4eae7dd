"""Steps of training that are recorded once and replayed: a small network's hundreds of kernels wait for the host otherwise.

Off unless asked for (`benchbench.kernels.graphs.recording`). A batch and its draws are copied into buffers; what is recorded is
the defense's loss with all of its inner steps, the backward pass and the optimiser's update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchbench.contract import KeyedGenerator, ScheduledDefense, SteppingDefense
from benchbench.kernels.graphs import WARM_UP, Recorder, Step, not_recording
from benchbench.training.draws import DrawTape
from benchbench.training.job import TrainingJob, check_loss


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a step learns from.

    Attributes:
        images: float32 (N, ...), augmented.
        labels: (N,).
        generator: the defense's draws.
    """

    images: Tensor
    labels: Tensor
    generator: KeyedGenerator


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
        totals: maps what a defense returned and the labels to a step's totals.
    """

    def __init__(
        self, job: TrainingJob, optimizer: torch.optim.Optimizer, totals: Callable[[Any, Tensor], Tensor]
    ) -> None:
        self._job = job
        self._optimizer = optimizer
        self._measure = totals
        self._tape = DrawTape()
        self._buffers: Batch | None = None
        self._totals: Tensor | None = None
        self._taken = 0
        self._rates: tuple[float, ...] = ()
        self._replay: Step | None = None

    def take(self, batch: Batch, recorder: Recorder) -> Tensor:
        """Take one step; returns its totals.

        Args:
            batch: as large as the others.
            recorder: makes a recording of the step, without taking it.
        """
        self._load(batch)
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

    def _load(self, batch: Batch) -> None:
        """Put a batch, and the draws for it, where the recorded step finds them."""
        self._tape.begin(batch.generator)
        if self._buffers is None:
            images, labels = batch.images.clone(), batch.labels.clone()
            self._buffers = Batch(images=images, labels=labels, generator=batch.generator)
            return
        self._buffers.images.copy_(batch.images)
        self._buffers.labels.copy_(batch.labels)

    def _step(self) -> None:
        if self._buffers is None:
            raise RuntimeError("nothing to learn from")
        job, batch = self._job, self._buffers
        defense: Any = job.defense
        result = defense.loss(job.model, batch.images, batch.labels, threat=job.threat, generator=self._tape.rewound())
        result = check_loss(result, defense)
        for parameter in job.model.parameters():
            parameter.grad = None
        result.loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        totals = self._measure(result, batch.labels)
        self._totals = totals if self._totals is None else self._totals.copy_(totals)

    def _record(self, recorder: Recorder) -> Step:
        with _capturable(self._optimizer):
            return recorder(self._step)


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
