"""The training loop: keyed draws, summed losses, resumable after every step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.contract import BatchLoss, Defense, Examples, KeyedGenerator, SteppingDefense, Threat, derive_seed
from benchbench.errors import ContractError, TrainingError
from benchbench.events import Listener, TrainingProgress, TrainingStarted, ignore
from benchbench.training.augmentation import augment
from benchbench.training.checkpoint import Checkpoint, EpochRecord, Position
from benchbench.training.recipe import Recipe

CHECKPOINT_SECONDS = 30.0  # and after each epoch
REPORT_SECONDS = 0.5  # how often the host waits for the device to read the running loss


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What to train and how.

    Attributes:
        model: the freshly initialised network, on any device.
        defense: a loss or a step of its own.
        examples: uint8 images (N, C, H, W) or float32 features, with int64 labels.
        rows: int64 (N,), the identity of each example in its dataset; keys every draw.
        threat: ball and box that the defense trains for.
        recipe: the schedule.
        seed: of the run.
        device: where training happens.
    """

    model: nn.Module
    defense: Defense | SteppingDefense
    examples: Examples
    rows: Tensor
    threat: Threat
    recipe: Recipe
    seed: int
    device: torch.device


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """The result: the model in evaluation mode, its history, and the seconds that training took over all sittings."""

    model: nn.Module
    history: tuple[EpochRecord, ...]
    seconds: float


def train(job: TrainingJob, *, checkpoint: Checkpoint | None = None, listener: Listener = ignore) -> TrainedModel:
    """Train a model, going on from its checkpoint where there is one.

    The result does not depend on interruptions: every draw is keyed by seed, epoch and example.

    Raises:
        TrainingError: the loss is not finite.
        ContractError: the defense returned something that is no `BatchLoss`.
    """
    return _Loop(job, checkpoint, listener).run()


class _Loop:
    """One training in progress."""

    def __init__(self, job: TrainingJob, checkpoint: Checkpoint | None, listener: Listener) -> None:
        self.job = job
        self.recipe = job.recipe
        self.checkpoint = checkpoint
        self.listener = listener
        self.model = job.model.to(job.device)
        self.model.to(memory_format=_memory_format(job.examples.inputs))  # type: ignore[call-overload]
        self.optimizer = make_optimizer(self.model, job.recipe)
        self.inputs = job.examples.inputs.to(job.device)
        self.labels = job.examples.labels.to(job.device)
        self.rows = job.rows.to(job.device)
        self.steps = math.ceil(len(job.examples) / job.recipe.batch_size)
        self.position = Position()
        self.started = time.monotonic()

    def run(self) -> TrainedModel:
        if self.checkpoint is not None:
            self.position = self.checkpoint.load(self.model, self.optimizer, defense=self.job.defense) or Position()
        self.listener(TrainingStarted(epoch=self.position.epoch, epochs=self.recipe.epochs, steps=self.steps))
        self.started = time.monotonic() - self.position.seconds
        self.model.train()
        with _private_randomness(self.job.device):
            while self.position.epoch < self.recipe.epochs:
                self._epoch()
        self.model.eval()
        return TrainedModel(model=self.model, history=self.position.history, seconds=self.position.seconds)

    def _epoch(self) -> None:
        """Run (the rest of) one epoch."""
        epoch = self.position.epoch
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate_at(epoch)
        order = self._order(epoch)
        totals = torch.tensor(
            [self.position.loss_sum, self.position.correct], device=self.job.device, dtype=_exact(self.job.device)
        )
        reported = saved = time.monotonic()
        for step in range(self.position.step, self.steps):
            totals += self._step(
                epoch, step, order[step * self.recipe.batch_size : (step + 1) * self.recipe.batch_size]
            )
            now = time.monotonic()
            if now - reported > REPORT_SECONDS and step + 1 < self.steps:
                self._report(epoch, step + 1, totals)
                reported = now
            if now - saved > CHECKPOINT_SECONDS and step + 1 < self.steps:
                self._save(epoch, step + 1, totals)
                saved = now
        self._finish_epoch(epoch, totals)

    def _order(self, epoch: int) -> Tensor:
        """The order of the examples in an epoch, the same on every device."""
        generator = torch.Generator().manual_seed(derive_seed(self.job.seed, "order", epoch))
        return torch.randperm(len(self.inputs), generator=generator).to(self.job.device)

    def _step(self, epoch: int, step: int, chosen: Tensor) -> Tensor:
        """Take one optimiser step; returns (summed loss, correct predictions) without waiting for the device."""
        labels = self.labels[chosen]
        generator = KeyedGenerator(derive_seed(self.job.seed, "train", epoch), self.rows[chosen])
        images = augment(self.inputs[chosen], self.recipe.augmentation, generator.child("augmentation"))
        images = as_model_input(images)
        torch.manual_seed(derive_seed(self.job.seed, "dropout", epoch, step))
        result = self._update(images, labels, generator.child("defense"))
        totals = torch.zeros(2, device=self.job.device, dtype=_exact(self.job.device))
        totals[0] = result.loss.detach()
        totals[1] = -math.inf if result.logits is None else (result.logits.detach().argmax(1) == labels).sum()
        return totals

    def _update(self, images: Tensor, labels: Tensor, generator: KeyedGenerator) -> BatchLoss:
        defense, threat = self.job.defense, self.job.threat
        if isinstance(defense, SteppingDefense):
            return _checked(
                defense.step(self.model, images, labels, threat=threat, generator=generator, optimizer=self.optimizer),
                defense,
            )
        result = _checked(defense.loss(self.model, images, labels, threat=threat, generator=generator), defense)
        self.optimizer.zero_grad(set_to_none=True)
        result.loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return result

    def _finish_epoch(self, epoch: int, totals: Tensor) -> None:
        loss, accuracy = self._report(epoch, self.steps, totals)
        learning_rate = self.recipe.learning_rate_at(epoch)
        record = EpochRecord(epoch=epoch + 1, learning_rate=learning_rate, loss=loss, accuracy=accuracy)
        self.position = Position(
            epoch=epoch + 1,
            history=(*self.position.history, record),
            seconds=time.monotonic() - self.started,
        )
        if self.checkpoint is not None:
            self.checkpoint.save(self.model, self.optimizer, self.position, defense=self.job.defense)

    def _report(self, epoch: int, step: int, totals: Tensor) -> tuple[float, float | None]:
        """Read the running totals from the device, refuse a loss that is not finite, and tell the listener."""
        loss_sum, correct = totals.tolist()
        seen = min(step * self.recipe.batch_size, len(self.inputs))
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
        )
        self.checkpoint.save(self.model, self.optimizer, position, defense=self.job.defense)


def as_model_input(inputs: Tensor) -> Tensor:
    """What the model sees: uint8 pixels become float32 in [0, 1], images in the faster channels-last layout."""
    values = inputs.float().div_(255.0) if inputs.dtype == torch.uint8 else inputs.float()
    return values.contiguous(memory_format=_memory_format(values))


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


def _memory_format(inputs: Tensor) -> torch.memory_format:
    return torch.channels_last if inputs.dim() == 4 else torch.contiguous_format


def _exact(device: torch.device) -> torch.dtype:
    """float64 sums, so that accuracies are exact; MPS has none."""
    return torch.float32 if device.type == "mps" else torch.float64


def _checked(result: object, defense: object) -> BatchLoss:
    if not isinstance(result, BatchLoss) or result.loss.dim() != 0:
        raise ContractError(
            f"{type(defense).__name__} returned {result!r}",
            hint="expected a BatchLoss with a scalar loss, summed over the batch",
        )
    return result


@contextmanager
def _private_randomness(device: torch.device) -> Iterator[None]:
    """Dropout draws from torch's global generator, which is seeded before each step; give the caller's state back."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield
