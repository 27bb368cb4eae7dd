"""The training loop: keyed draws, summed losses, resumable after every step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.contract import derive_seed
from benchbench.errors import TrainingError
from benchbench.events import Listener, TrainingProgress, TrainingStarted, ignore
from benchbench.stopping import StopRequest
from benchbench.training.checkpoint import Checkpoint, EpochRecord, Position
from benchbench.training.job import TrainingJob, exact_dtype, memory_format
from benchbench.training.recipe import Recipe
from benchbench.training.stepping import Steps

CHECKPOINT_SECONDS = 30.0  # and after each epoch
REPORT_SECONDS = 0.5  # how often the host waits for the device to read the running loss


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """The result: the model in evaluation mode, its history, and the seconds that training took over all sittings.

    Attributes:
        part_size: examples that went through the model at once, where the memory did not suffice for a whole batch; else 0.
    """

    model: nn.Module
    history: tuple[EpochRecord, ...]
    seconds: float
    part_size: int = 0


def train(
    job: TrainingJob,
    *,
    checkpoint: Checkpoint | None = None,
    listener: Listener = ignore,
    stop: StopRequest | None = None,
) -> TrainedModel:
    """Train a model, going on from its checkpoint where there is one.

    The result does not depend on interruptions: every draw is keyed by seed, epoch and example. Where the device's memory does
    not suffice for a batch, the batch goes through the model in parts whose losses add up.

    Raises:
        Stopped: `stop` asked for it; the checkpoint is written.
        TrainingError: the loss is not finite, or the memory does not suffice for a batch that cannot be divided.
        ContractError: the defense returned something that is no `BatchLoss`.
    """
    return _Loop(job, checkpoint, listener, stop or StopRequest()).run()


class _Loop:
    """One training in progress."""

    def __init__(self, job: TrainingJob, checkpoint: Checkpoint | None, listener: Listener, stop: StopRequest) -> None:
        self.job = job
        self.recipe = job.recipe
        self.checkpoint = checkpoint
        self.listener = listener
        self.stop = stop
        self.model = job.model.to(job.device)
        self.model.to(memory_format=memory_format(job.examples.inputs))  # type: ignore[call-overload]
        self.optimizer = make_optimizer(self.model, job.recipe)
        self.stepping = Steps(job, self.optimizer, listener)
        self.steps = math.ceil(len(job.examples) / job.recipe.batch_size)
        self.position = Position()
        self.started = time.monotonic()

    def run(self) -> TrainedModel:
        if self.checkpoint is not None:
            self.position = self.checkpoint.load(self.model, self.optimizer, defense=self.job.defense) or Position()
        self.stepping.go_on_with(self.position.part_size)
        self.listener(TrainingStarted(epoch=self.position.epoch, epochs=self.recipe.epochs, steps=self.steps))
        self.started = time.monotonic() - self.position.seconds
        self.model.train()
        with _private_randomness(self.job.device):
            while self.position.epoch < self.recipe.epochs:
                self.stop.check()
                self._epoch()
        self.model.eval()
        position = self.position
        return TrainedModel(
            model=self.model, history=position.history, seconds=position.seconds, part_size=position.part_size
        )

    def _epoch(self) -> None:
        """Run (the rest of) one epoch."""
        epoch = self.position.epoch
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate_at(epoch)
        order = self._order(epoch)
        totals = torch.tensor(
            [self.position.loss_sum, self.position.correct], device=self.job.device, dtype=exact_dtype(self.job.device)
        )
        reported = saved = time.monotonic()
        for step in range(self.position.step, self.steps):
            totals += self.stepping.take(
                epoch, step, order[step * self.recipe.batch_size : (step + 1) * self.recipe.batch_size]
            )
            now = time.monotonic()
            if now - reported > REPORT_SECONDS and step + 1 < self.steps:
                self._report(epoch, step + 1, totals)
                reported = now
            if (self.stop.is_due() or now - saved > CHECKPOINT_SECONDS) and step + 1 < self.steps:
                self._save(epoch, step + 1, totals)
                saved = now
                self.stop.check()
        self._finish_epoch(epoch, totals)

    def _order(self, epoch: int) -> Tensor:
        """The order of the examples in an epoch, the same on every device."""
        generator = torch.Generator().manual_seed(derive_seed(self.job.seed, "order", epoch))
        return torch.randperm(len(self.job.examples), generator=generator).to(self.job.device)

    def _finish_epoch(self, epoch: int, totals: Tensor) -> None:
        loss, accuracy = self._report(epoch, self.steps, totals)
        learning_rate = self.recipe.learning_rate_at(epoch)
        record = EpochRecord(epoch=epoch + 1, learning_rate=learning_rate, loss=loss, accuracy=accuracy)
        self.position = Position(
            epoch=epoch + 1,
            history=(*self.position.history, record),
            seconds=time.monotonic() - self.started,
            part_size=self.stepping.part_size,
        )
        if self.checkpoint is not None:
            self.checkpoint.save(self.model, self.optimizer, self.position, defense=self.job.defense)

    def _report(self, epoch: int, step: int, totals: Tensor) -> tuple[float, float | None]:
        """Read the running totals from the device, refuse a loss that is not finite, and tell the listener."""
        loss_sum, correct = totals.tolist()
        seen = min(step * self.recipe.batch_size, len(self.job.examples))
        if not math.isfinite(loss_sum):
            raise TrainingError(
                f"the training loss is not finite in epoch {epoch + 1}, at or before step {step}",
                hint="a smaller learning rate is the usual cure; losses are summed over the batch, not averaged",
            )
        loss, accuracy = loss_sum / seen, (correct / seen if math.isfinite(correct) else None)
        self.listener(
            TrainingProgress(
                epoch=epoch, epochs=self.recipe.epochs, step=step, steps=self.steps, loss=loss, accuracy=accuracy
            )
        )
        return loss, accuracy

    def _save(self, epoch: int, step: int, totals: Tensor) -> None:
        if self.checkpoint is None:
            return
        loss_sum, correct = totals.tolist()
        position = Position(
            epoch=epoch,
            step=step,
            loss_sum=loss_sum,
            correct=correct,
            history=self.position.history,
            seconds=time.monotonic() - self.started,
            part_size=self.stepping.part_size,
        )
        self.checkpoint.save(self.model, self.optimizer, position, defense=self.job.defense)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser of a recipe over all parameters of a model.

    Raises:
        TrainingError: the recipe has none.
    """
    if recipe.optimizer == "none":
        raise TrainingError("this method trains in steps, and the recipe's optimizer is 'none'")
    if recipe.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )


@contextmanager
def _private_randomness(device: torch.device) -> Iterator[None]:
    """Dropout draws from torch's global generator, which is seeded before each step; give the caller's state back."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield
