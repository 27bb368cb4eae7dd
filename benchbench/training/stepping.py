"""One step of training: augmented batch, summed loss, update.

A batch that is too large for the memory goes through the model in parts. Of ranks that train together, each computes its part
of the batch, and `take` returns the totals of that part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchbench.contract import BatchLoss, KeyedGenerator, SteppingDefense, derive_seed, in_mode
from benchbench.contract.recipe import Augmentation
from benchbench.contract.seeds import Keys
from benchbench.contract.training import announce
from benchbench.errors import PLUGIN_FAULTS, BenchbenchError, TrainingError
from benchbench.events import Listener, Note
from benchbench.kernels.arithmetic import derive, training_in
from benchbench.kernels.fused_sequences import fused_sequences
from benchbench.kernels.graphs import recorder_for
from benchbench.kernels.inputs import as_model_input
from benchbench.kernels.layers import quick_sequences, repeatable_pooling
from benchbench.kernels.shrinking import within_memory
from benchbench.ranks.group import Ranks
from benchbench.training.data_parallel import SharedGradients
from benchbench.training.job import TrainingJob, check_loss
from benchbench.training.recorded import RecordedSteps, is_recordable
from benchbench.training.shared_layers import check_divisible


def augment(images: Tensor, augmentation: Augmentation, generator: KeyedGenerator) -> Tensor:
    """Augment images (N, C, H, W) of any dtype, to (N, C, crop, crop) if a crop is set."""
    if augmentation.padding or augmentation.crop:
        images = random_crop(images, augmentation, generator)
    if augmentation.flip:
        mirrored = generator.integers(2).bool()
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images


def random_crop(images: Tensor, augmentation: Augmentation, generator: KeyedGenerator) -> Tensor:
    """Pad with zeros on each side, then cut a window at a uniformly drawn place of each image."""
    padding = augmentation.padding
    height = augmentation.crop or images.shape[2]
    width = augmentation.crop or images.shape[3]
    padded = torch.nn.functional.pad(images, (padding, padding, padding, padding))
    top = generator.integers(padded.shape[2] - height + 1)
    left = generator.integers(padded.shape[3] - width + 1)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    cut = padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2)


@dataclass(frozen=True, kw_only=True)
class _Batch:
    images: Tensor  # float32 (N, ...), augmented
    labels: Tensor
    generator: KeyedGenerator  # the defense's draws


class Steps:
    """Takes the steps of a training, whose model is on the device; `ranks` share each step."""

    def __init__(
        self, job: TrainingJob, optimizer: torch.optim.Optimizer, listener: Listener, ranks: Ranks | None = None
    ) -> None:
        self._job = job
        self._optimizer = optimizer
        self._listener = listener
        self._part_size = job.recipe.batch_size
        self._inputs = job.examples.inputs.to(job.device)
        self._labels = job.examples.labels.to(job.device)
        self._rows = job.rows.to(job.device)
        self._shared = None if ranks is None else SharedGradients(job, ranks)
        self._recorded = RecordedSteps(job, optimizer, self._learn) if is_recordable(job, optimizer) else None

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Prepare the model for the block in which steps are taken."""
        model = self._job.model
        with (
            nullcontext() if self._shared is None else self._shared.ready(),
            repeatable_pooling(model),
            fused_sequences(model),
            quick_sequences(model),  # gives the same bits
            training_in(self._job.recipe.precision, model, self._job.device),
        ):
            yield

    @property
    def part_size(self) -> int:
        """Examples per pass if the memory does not suffice for a whole batch; else 0."""
        return self._part_size if self._part_size < self._job.recipe.batch_size else 0

    def resume(self, part_size: int) -> None:
        """Continue with the `part_size` of an earlier sitting."""
        self._part_size = part_size or self._job.recipe.batch_size

    def take(self, epoch: int, step: int, chosen: Tensor) -> Tensor:
        """Take one optimiser step; return (summed loss, correct predictions) without synchronising."""
        announce(self._job.defense, self._job.progress(epoch, step))
        if self._shared is not None:
            return self._shared_step(epoch, step, chosen, self._shared)
        recorder = recorder_for(self._job.device)
        whole = self.part_size == 0 and len(chosen) == self._job.recipe.batch_size
        if self._recorded is not None and recorder is not None and whole:
            try:
                self._seed_dropout(epoch, step)
                return self._recorded.take(self._seed(epoch), chosen, recorder)
            except torch.OutOfMemoryError:
                self._recorded = None  # later steps are not recorded, and go in parts that fit
            self._note("out of memory: steps are no longer recorded")
        defense = self._job.defense
        for attempt in within_memory(self._part_size, self._note):
            with attempt as self._part_size:
                if self.part_size:
                    check_divisible(self._job.model, defense)
                self._seed_dropout(epoch, step)
                if isinstance(defense, SteppingDefense):
                    totals = self._own_step(defense, epoch, chosen)
                else:
                    totals = self._add_gradients(epoch, chosen, self._part_size)
        if not isinstance(defense, SteppingDefense):
            self._optimizer.step()
        return totals

    def set_statistics(self) -> None:
        """Compute the statistics of batch normalisation anew, as means over all training batches."""
        model = self._job.model
        layers = [one for one in model.modules() if isinstance(one, _BatchNorm) and one.track_running_stats]
        momenta = [layer.momentum for layer in layers]
        seed = derive_seed(self._job.seed, "statistics")
        everything = torch.arange(len(self._rows), device=self._rows.device)
        with in_mode(model, training=False), torch.no_grad():
            for layer in layers:
                layer.reset_running_stats()
                layer.momentum = None  # a mean in which all batches weigh the same
                layer.train()
            for chosen in torch.split(everything, self._part_size) if layers else ():
                if self._shared is not None:
                    part = self._shared.ranks.part(len(chosen))
                    self._shared.share(part)
                    chosen = chosen[part.first : part.last]
                model(self._batch(seed, chosen).images)
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum

    def _shared_step(self, epoch: int, step: int, chosen: Tensor, shared: SharedGradients) -> Tensor:
        """Take a step together with the other ranks; they wait for it, so an error ends all of them."""
        part = shared.ranks.part(len(chosen))
        try:
            self._seed_dropout(epoch, step)
            batch = self._batch(self._seed(epoch), chosen[part.first : part.last])
            totals = self._totals(shared.add(part, batch.images, batch.labels, batch.generator), batch.labels)
        except TrainingError:
            raise  # every rank raises it
        except PLUGIN_FAULTS as error:
            raise shared.ranks.failed(_in_a_line(error)) from error
        self._optimizer.step()
        return totals if part.counts else torch.zeros_like(totals)

    def _own_step(self, defense: SteppingDefense, epoch: int, chosen: Tensor) -> Tensor:
        batch, threat, optimizer = self._batch(self._seed(epoch), chosen), self._job.threat, self._optimizer
        labels = self._job.targets(batch.labels)
        result = defense.step(
            self._job.model, batch.images, labels, threat=threat, generator=batch.generator, optimizer=optimizer
        )
        return self._totals(check_loss(result, defense), batch.labels)

    def _add_gradients(self, epoch: int, chosen: Tensor, part_size: int) -> Tensor:
        """Set the gradients of a batch's summed loss, computed part by part if it is too large."""
        job, totals = self._job, list[Tensor]()
        parameters = list(job.model.parameters())
        gradients: list[Tensor | None] = [None] * len(parameters)
        for part in torch.split(chosen, part_size):
            batch = self._batch(self._seed(epoch), part)
            result = job.loss(batch.images, batch.labels, batch.generator)
            _set_gradients(parameters, gradients)  # those of the parts before; the defense may have left others
            derive(result.loss)
            totals.append(self._totals(result, batch.labels))
            gradients = [parameter.grad for parameter in parameters]
            _set_gradients(parameters, [None] * len(parameters))
        _set_gradients(parameters, gradients)
        return totals[0] if len(totals) == 1 else torch.stack(totals).sum(dim=0)

    def _learn(self, keys: Keys, chosen: Tensor) -> Tensor:
        """Take a whole step that can be recorded; return its totals."""
        batch = self._batch(keys, chosen)
        result = self._job.loss(batch.images, batch.labels, batch.generator)
        for parameter in self._job.model.parameters():
            parameter.grad = None
        derive(result.loss)
        self._optimizer.step()
        return self._totals(result, batch.labels)

    def _seed_dropout(self, epoch: int, step: int) -> None:
        torch.manual_seed(derive_seed(self._job.seed, "dropout", epoch, step))

    def _seed(self, epoch: int) -> int:
        return derive_seed(self._job.seed, "train", epoch)

    def _batch(self, seed: int | Keys, chosen: Tensor) -> _Batch:
        """Augmented images, labels and the defense's draws, keyed by epoch and example."""
        generator = KeyedGenerator(seed, self._rows[chosen])
        images = augment(self._inputs[chosen], self._job.recipe.augmentation, generator.child("augmentation"))
        return _Batch(images=as_model_input(images), labels=self._labels[chosen], generator=generator.child("defense"))

    def _totals(self, result: BatchLoss, labels: Tensor) -> Tensor:
        # Filled, not assigned: assigning a number copies it from the host, which then waits for the device.
        totals = torch.full((2,), -math.inf, device=self._job.device, dtype=torch.float64)
        totals[0] = result.loss.detach()
        if result.logits is not None:
            torch.sum(result.logits.detach().argmax(1) == labels, dim=0, out=totals[1])
        return totals

    def _note(self, message: str) -> None:
        self._listener(Note(message=f"  {message}"))


def _set_gradients(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, gradients):
        parameter.grad = gradient


def _in_a_line(error: BaseException) -> str:
    message, *_ = str(error).splitlines() or [""]
    if isinstance(error, torch.OutOfMemoryError):
        return f"out of memory; more ranks hold fewer examples each: {message}"
    return message if isinstance(error, BenchbenchError) else f"{type(error).__name__}: {message}"
