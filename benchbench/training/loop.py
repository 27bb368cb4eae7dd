"""The training loop: keyed draws, summed losses, resumable after every step; taken alone or by several ranks in step.

Ranks learn what one process learns, up to the order in which float32 numbers are added; rank 0 alone writes and speaks.
"""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.cell.recipe import Recipe
from benchbench.contract import derive_seed
from benchbench.errors import TrainingError
from benchbench.events import Listener, TrainingProgress, TrainingStarted, ignore
from benchbench.kernels.inputs import memory_format
from benchbench.ranks.group import Alone, Company, Ranks
from benchbench.stopping import Stopped, StopRequest
from benchbench.training.checkpoint import Checkpoint, EpochRecord, Position, pack, unpack
from benchbench.training.job import TrainingJob
from benchbench.training.stepping import Steps

CHECKPOINT_SECONDS = 30.0  # and after each epoch
REPORT_SECONDS = 0.5  # how often the host waits for the device to read the running loss
MOST_STEPS_APART = (
    64  # steps that ranks take until the leader says again what is due; fewer where half a second holds fewer
)


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """The result: the model in evaluation mode, its history, and the seconds that training took over all sittings.

    Attributes:
        part_size: examples that went through the model at once, where the memory did not suffice for a whole batch; else 0.
        ranks: the most processes that trained it together in any sitting.
    """

    model: nn.Module
    history: tuple[EpochRecord, ...]
    seconds: float
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
    """Train a model, going on from its checkpoint where there is one.

    The result does not depend on interruptions: every draw is keyed by seed, epoch and example. Where the device's memory does
    not suffice for a batch, the batch goes through the model in parts whose losses add up.

    Args:
        job: what to train and how.
        checkpoint: where to go on from, and to write to; of rank 0 only.
        listener: is told what happens; of rank 0 only.
        stop: is asked after each step; of rank 0 only.
        ranks: who train it together, each calling this function; None for this process alone.

    Raises:
        Stopped: `stop` asked for it; the checkpoint is written.
        TrainingError: the loss is not finite, or the memory does not suffice for a batch that cannot be divided.
        ContractError: the defense returned something that is no `BatchLoss`.
        RankError: a rank cannot go on; all of them raise it, or are cut off.
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
        self.steps = math.ceil(len(job.examples) / job.recipe.batch_size)
        self.position = Position()
        self.started = self.reported = self.saved = self.asked = time.monotonic()

    def run(self) -> TrainedModel:
        self.position = self._resume()
        self.stepping.go_on_with(self.position.part_size)
        self.listener(TrainingStarted(epoch=self.position.epoch, epochs=self.recipe.epochs, steps=self.steps))
        self.started = time.monotonic() - self.position.seconds
        self.model.train()
        with _private_randomness(self.job.device), self.stepping.ready():
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
        """The leader's checkpoint, on all ranks."""
        position, state = Position(), dict[str, Tensor]()
        if self.checkpoint is not None:
            position = self.checkpoint.load(self.model, self.optimizer, defense=self.job.defense) or Position()
        if self.company.count > 1:
            if self.company.leads:
                state = pack(self.model, self.optimizer)
            position, state = self.company.share((position, state))
            unpack(state, self.model, self.optimizer)
        return position

    def _stop_if(self, due: int) -> None:
        if due:
            raise Stopped(self.stop.reason or "rank 0 stopped")

    def _epoch(self) -> None:
        """Run (the rest of) one epoch."""
        epoch = self.position.epoch
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate_at(epoch)
        order = self._order(epoch)
        begun = [self.position.loss_sum, self.position.correct] if self.company.leads else [0.0, 0.0]
        totals = torch.tensor(begun, device=self.job.device, dtype=torch.float64)  # so that accuracies are exact
        self.reported = self.saved = self.asked = time.monotonic()
        apart, ask_after = 1, self.position.step
        for step in range(self.position.step, self.steps):
            totals += self.stepping.take(
                epoch, step, order[step * self.recipe.batch_size : (step + 1) * self.recipe.batch_size]
            )
            if step < ask_after or step + 1 == self.steps:
                continue
            due, apart = self._ask(apart)
            ask_after = step + apart
            if _Due.REPORT in due:
                self._report(epoch, step + 1, totals)
            if _Due.SAVE in due:
                self._save(epoch, step + 1, totals)
            self._stop_if(due & _Due.STOP)
        self._finish_epoch(epoch, totals)

    def _ask(self, apart: int) -> tuple[_Due, int]:
        """What the leader finds due, and after how many steps to ask it again: a broadcast costs as much as a small step.

        Args:
            apart: how many steps were taken since it was last asked.
        """
        if self.company.count == 1:
            return self._due(), 1
        now = time.monotonic()
        seconds, self.asked = (now - self.asked) / apart, now
        wait = min(max(int(REPORT_SECONDS / max(seconds, 1e-9)), 1), MOST_STEPS_APART)
        wait, due = divmod(self.company.decide(wait * _ALL_DUE + self._due()), _ALL_DUE)
        return _Due(due), wait

    def _due(self) -> _Due:
        """What this process finds due."""
        now, due = time.monotonic(), _Due.NOTHING
        if now - self.reported > REPORT_SECONDS:
            self.reported, due = now, due | _Due.REPORT
        if self.stop.is_due():
            due |= _Due.SAVE | _Due.STOP
        elif now - self.saved > CHECKPOINT_SECONDS:
            self.saved, due = now, due | _Due.SAVE
        return due

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
            ranks=max(self.position.ranks, self.company.count),
        )
        if self.checkpoint is not None:
            self.checkpoint.save(self.model, self.optimizer, self.position, defense=self.job.defense)

    def _report(self, epoch: int, step: int, totals: Tensor) -> tuple[float, float | None]:
        """Read the running totals from the device, refuse a loss that is not finite, and tell the listener."""
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

    def _save(self, epoch: int, step: int, totals: Tensor) -> None:
        loss_sum, correct = self.company.total(totals).tolist()
        if self.checkpoint is None:
            return
        position = Position(
            epoch=epoch,
            step=step,
            loss_sum=loss_sum,
            correct=correct,
            history=self.position.history,
            seconds=time.monotonic() - self.started,
            part_size=self.stepping.part_size,
            ranks=max(self.position.ranks, self.company.count),
        )
        self.checkpoint.save(self.model, self.optimizer, position, defense=self.job.defense)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser of a recipe over all parameters of a model, as one kernel where they are on a CUDA device.

    Raises:
        TrainingError: the recipe has none.
    """
    if recipe.optimizer == "none":
        raise TrainingError("this method trains in steps, and the recipe's optimizer is 'none'")
    parameters = list(model.parameters())
    # Nothing is asked for elsewhere: on a CPU the fused kernels round differently, and rows are to stay what they are.
    fused = True if parameters and all(parameter.is_cuda for parameter in parameters) else None
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=fused)
    return torch.optim.SGD(
        parameters, lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=fused
    )


@contextmanager
def _private_randomness(device: torch.device) -> Iterator[None]:
    """Dropout draws from torch's global generator, which is seeded before each step; give the caller's state back."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield
