"""The training loop of one process or several ranks, resumable after every step.

Draws are keyed, and losses are summed over the batch. Ranks learn what one process learns, up to the order in which float32
numbers are added. Only rank 0 writes and reports.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import time
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from benchbench.contract import derive_seed
from benchbench.contract.recipe import Recipe
from benchbench.errors import StorageError, TrainingError
from benchbench.events import Listener, TrainingProgress, TrainingStarted, ignore
from benchbench.kernels.determinism import own_draws
from benchbench.kernels.inputs import memory_format
from benchbench.kernels.optimizers import uncompiled
from benchbench.ranks.group import Alone, Company, Ranks
from benchbench.stopping import Stopped, StopRequest
from benchbench.training.checkpoint import (
    Checkpoint,
    EpochRecord,
    Position,
    pack,
    position_bytes,
    position_from,
    unpack,
)
from benchbench.training.harvest import Harvest
from benchbench.training.job import TrainingJob
from benchbench.training.stepping import Steps

CHECKPOINT_SECONDS = 30.0  # and after each epoch
REPORT_SECONDS = 0.5  # how often the host waits for the device to read the running loss
MOST_STEPS_APART = 64  # between two decisions of the leader; fewer where these take longer than REPORT_SECONDS


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """The model in evaluation mode; the other fields are those of `Position`."""

    model: nn.Module
    history: tuple[EpochRecord, ...]
    seconds: float | None
    part_size: int = 0
    ranks: int = 1


class _Due(enum.IntFlag):
    """What is due after a step."""

    NOTHING = 0
    REPORT = 1
    SAVE = 2
    STOP = 4


_ALL_DUE = 8  # above every combination


def train(
    job: TrainingJob,
    *,
    checkpoint: Checkpoint | None = None,
    listener: Listener = ignore,
    stop: StopRequest | None = None,
    ranks: Ranks | None = None,
) -> TrainedModel:
    """Train a model, resuming from its checkpoint if there is one.

    The result does not depend on interruptions, because every draw is keyed by seed, epoch and example. Where the device's
    memory does not suffice for a batch, the batch goes through the model in parts whose losses add up. Only rank 0 uses the
    checkpoint, sends events and checks `stop` after each step. Every rank of `ranks` calls this function.

    Raises:
        Stopped: `stop` is due; the checkpoint is written.
        TrainingError: the loss is not finite, or the memory does not suffice for a batch that cannot be divided.
        ContractError: the defense returned something that is no `BatchLoss`.
        RankError: a rank cannot go on; every rank that still runs raises it.
    """
    return _Loop(job, checkpoint, listener, stop or StopRequest(), ranks).run()


class _Loop:
    """One training in progress."""

    def __init__(
        self,
        job: TrainingJob,
        checkpoint: Checkpoint | None,
        listener: Listener,
        stop: StopRequest,
        ranks: Ranks | None,
    ) -> None:
        self.company: Company = ranks or Alone()
        self.job = job
        self.recipe = job.recipe
        self.checkpoint = checkpoint if self.company.leads else None
        self.listener = listener if self.company.leads else ignore
        self.stop = stop
        self.model = job.model.to(job.device)
        self.model.to(memory_format=memory_format(job.examples.inputs))  # type: ignore[call-overload]
        self.optimizer = make_optimizer(self.model, job.recipe)
        self.stepping = Steps(job, self.optimizer, self.listener, ranks)
        self.harvest = Harvest(job, self.company, self.stepping)
        self.steps = job.steps
        self.position = Position()
        self.started = self.reported = self.saved = self.decided = time.monotonic()

    def run(self) -> TrainedModel:
        self.position = self._resume()
        self.stepping.resume(self.position.part_size)
        self.listener(TrainingStarted(epoch=self.position.epoch, epochs=self.recipe.epochs, steps=self.steps))
        self.started = time.monotonic() - self.position.seconds
        self.model.train()
        with own_draws(self.job.device), self.stepping.ready():  # each step seeds the draws of dropout
            while self.position.epoch < self.recipe.epochs:
                self._stop_if(self.company.decide(self.stop.is_due()))
                self._epoch()
        self.model.eval()
        position = self.position
        return TrainedModel(
            model=self.model,
            history=position.history,
            seconds=position.seconds,
            part_size=position.part_size,
            ranks=position.ranks,
        )

    def _resume(self) -> Position:
        """Load the leader's checkpoint on all ranks."""
        position, state = Position(), b""
        if self.checkpoint is not None:
            parts = {"defense": self.job.defense, "harvest": self.harvest}
            position = self.checkpoint.load(self.model, self.optimizer, **parts) or Position()
            if position.epoch > self.recipe.epochs or position.step > self.steps:
                said = f"{self.checkpoint.path} says epoch {position.epoch}, step {position.step}, beyond this training"
                raise StorageError(said, hint="move the file away")
        if self.company.count > 1:
            if self.company.leads:
                state = save(pack(self.model, self.optimizer, harvest=self.harvest))
            position = position_from(self.company.share(position_bytes(position)))
            unpack(load(self.company.share(state)), self.model, self.optimizer, harvest=self.harvest)
        return position

    def _stop_if(self, due: int) -> None:
        if due:
            raise Stopped(self.stop.reason or "rank 0 stopped")

    def _epoch(self) -> None:
        """Run one epoch, or the rest of it."""
        epoch = self.position.epoch
        generator = torch.Generator().manual_seed(derive_seed(self.job.seed, "order", epoch))
        order = torch.randperm(len(self.job.examples), generator=generator)  # equal on every device
        batches = torch.split(order.to(self.job.device), self.recipe.batch_size)
        begun = [self.position.loss_sum, self.position.correct] if self.company.leads else [0.0, 0.0]
        totals = torch.tensor(begun, device=self.job.device, dtype=torch.float64)  # so that accuracies are exact
        self.reported = self.saved = self.decided = time.monotonic()
        apart, next_decision = 1, self.position.step
        for step in range(self.position.step, self.steps):
            for group in self.optimizer.param_groups:
                group["lr"] = self.recipe.learning_rate_at(epoch, step, self.steps)
            totals += self.stepping.take(epoch, step, batches[step])
            self.harvest.after_step(self.job.progress(epoch, step))
            if step < next_decision or step + 1 == self.steps:
                continue
            due, apart = self._decide(apart)
            next_decision = step + apart
            if _Due.REPORT in due:
                self._report(epoch, step + 1, totals)
            if _Due.SAVE in due:
                loss_sum, correct = self.company.total(totals).tolist()
                self._save(dataclasses.replace(self.position, step=step + 1, loss_sum=loss_sum, correct=correct))
            self._stop_if(due & _Due.STOP)
        self._finish_epoch(epoch, totals)

    def _decide(self, apart: int) -> tuple[_Due, int]:
        """Return what the leader finds due, and the number of steps until its next decision.

        `apart` is the number of steps since its last one.
        """
        if self.company.count == 1:
            return self._due(), 1
        # A broadcast costs as much as a small step, so ranks do not wait for one after each step.
        now = time.monotonic()
        seconds, self.decided = (now - self.decided) / apart, now
        wait = min(max(int(REPORT_SECONDS / max(seconds, 1e-9)), 1), MOST_STEPS_APART)
        wait, due = divmod(self.company.decide(wait * _ALL_DUE + self._due()), _ALL_DUE)
        return _Due(due), wait

    def _due(self) -> _Due:
        now, due = time.monotonic(), _Due.NOTHING
        if now - self.reported > REPORT_SECONDS:
            self.reported, due = now, due | _Due.REPORT
        if self.stop.is_due():
            due |= _Due.SAVE | _Due.STOP
        elif now - self.saved > CHECKPOINT_SECONDS:
            self.saved, due = now, due | _Due.SAVE
        return due

    def _finish_epoch(self, epoch: int, totals: Tensor) -> None:
        loss, accuracy = self._report(epoch, self.steps, totals)
        scores = self.harvest.after_epoch(epoch, self.position.history)
        record = EpochRecord(
            epoch=epoch + 1,
            learning_rate=self.recipe.learning_rate_at(epoch, 0, self.steps),
            loss=loss,
            accuracy=accuracy,
            validation_accuracy=scores.clean,
            validation_robust_accuracy=scores.robust,
        )
        history = (*self.position.history, record)
        if epoch + 1 == self.recipe.epochs:
            self.harvest.bring_in()
        self.position = self._save(Position(epoch=epoch + 1, history=history, ranks=self.position.ranks))

    def _report(self, epoch: int, step: int, totals: Tensor) -> tuple[float, float | None]:
        """Read the running totals from the device, check that they are finite, and report them."""
        loss_sum, correct = self.company.total(totals).tolist()
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

    def _save(self, position: Position) -> Position:
        """Write a position to the checkpoint, with the figures of the whole training added."""
        position = dataclasses.replace(
            position,
            seconds=time.monotonic() - self.started,
            part_size=self.stepping.part_size,
            ranks=max(position.ranks, self.company.count),
        )
        if self.checkpoint is not None:
            parts = {"defense": self.job.defense, "harvest": self.harvest}
            self.checkpoint.save(self.model, self.optimizer, position, **parts)
        return position


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser of all parameters; on CUDA its update is one kernel."""
    if recipe.optimizer == "none":
        raise TrainingError("this method trains in steps, and the recipe's optimizer is 'none'")
    parameters = list(model.parameters())
    # None on a CPU: its fused kernels round differently and would change existing rows.
    fused = True if parameters and all(parameter.is_cuda for parameter in parameters) else None
    if recipe.optimizer == "adam":
        adam = uncompiled(torch.optim.Adam)
        return adam(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=fused)
    return uncompiled(torch.optim.SGD)(
        parameters, lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=fused
    )
