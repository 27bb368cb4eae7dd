"""What is evaluated: examples that stay uint8 on the device, and a borrowed model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from benchbench.contract import Attack, Examples, KeyedGenerator, SplitName, Threat, derive_seed, frozen, in_mode
from benchbench.evaluation.lending import Loan
from benchbench.evaluation.supervision import check_logits
from benchbench.events import EvaluationProgress, Listener
from benchbench.kernels.inputs import model_values

CPU_BATCH = 64  # larger batches leave the cache: 512 examples cost twice the time per example
CUDA_BATCH = 512
EXAMPLES_PER_SHARD = 1024  # the most that an interruption can lose


@dataclass(frozen=True, kw_only=True)
class Split:
    """The evaluated examples of one split, on the device."""

    name: SplitName
    examples: Examples  # uint8 images (N, C, H, W) or float32 features (N, ...), with int64 labels
    rows: Tensor  # int64 (N,), index of each example in its dataset; keys its draws and names it in messages

    def __len__(self) -> int:
        return len(self.examples)

    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield the positions of each batch, in order: int64, on the device."""
        for start in range(0, len(self), size):
            yield torch.arange(start, min(start + size, len(self)), device=self.rows.device)

    def images(self, positions: Tensor) -> Tensor:
        """Model inputs: float32, pixels / 255, in the memory layout that is best for convolutions."""
        return in_best_layout(model_values(self.examples.inputs.index_select(0, positions)))

    def labels(self, positions: Tensor) -> Tensor:
        """Labels of some examples, int64."""
        return self.examples.labels.index_select(0, positions)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A borrowed model, and how it is attacked; `evaluate` explains the fields."""

    model: nn.Module
    splits: Mapping[SplitName, Split]
    classes: int
    threat: Threat
    attack: Attack
    attack_name: str
    seed: int
    batch_size: int
    listener: Listener

    @cached_property
    def loan(self) -> Loan:
        """The model and the examples that plugins are lent."""
        tensors = {f"{name} images": split.examples.inputs for name, split in self.splits.items()}
        tensors |= {f"{name} labels": split.examples.labels for name, split in self.splits.items()}
        return Loan(self.model, tensors)

    def shards(self, split: Split) -> list[Tensor]:
        """Positions of each shard: whole batches, the same ones after an interruption."""
        return list(split.batches(max(EXAMPLES_PER_SHARD // self.batch_size, 1) * self.batch_size))

    def generator(self, split: Split, purpose: str, positions: Tensor) -> KeyedGenerator:
        """The draws of some examples, keyed by seed, purpose, split and example."""
        return KeyedGenerator(derive_seed(self.seed, purpose, split.name), split.rows[positions])

    def classify(self, images: Tensor, rows: Tensor, what: str) -> Tensor:
        """Predicted classes, int64 (N,) on the CPU, from checked logits."""
        with torch.no_grad():
            logits = self.model(images)
        return check_logits(logits, classes=self.classes, rows=rows, what=what).argmax(dim=1).cpu()

    def report(self, purpose: str, split: Split, done: int) -> None:
        """Send the progress of a purpose on a split to the listener."""
        self.listener(EvaluationProgress(purpose=f"{purpose} on {split.name}", done=done, total=len(split)))


def place(name: SplitName, examples: Examples, rows: Tensor, device: torch.device) -> Split:
    """Move a split to the device; images stay uint8."""
    moved = Examples(inputs=examples.inputs.to(device), labels=examples.labels.to(device))
    return Split(name=name, examples=moved, rows=rows.to(device))


def default_batch_size(device: torch.device) -> int:
    """Examples per forward pass."""
    return CUDA_BATCH if device.type == "cuda" else CPU_BATCH


def in_best_layout(images: Tensor) -> Tensor:
    """Return images in channels-last."""
    # Unlike `as_model_input`, this also changes the strides of grey images, and with them how convolutions round.
    return images.to(memory_format=torch.channels_last) if images.dim() == 4 else images


@contextmanager
def borrowed(model: nn.Module) -> Iterator[nn.Module]:
    """The model in evaluation mode, frozen and, unless it ``keeps_layout``, channels-last."""
    with in_mode(model, training=False), frozen(model), _channels_last(model):
        yield model


@contextmanager
def _channels_last(model: nn.Module) -> Iterator[None]:
    parameters = () if getattr(model, "keeps_layout", False) else model.parameters()
    before = [(parameter, parameter.data) for parameter in parameters if parameter.dim() == 4]
    for parameter, data in before:
        # Unlike `contiguous`, `to` also gives a convolution over one channel the strides that its output follows.
        parameter.data = data.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for parameter, data in before:
            parameter.data = data
