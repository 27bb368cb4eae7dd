"""What is evaluated: examples that stay uint8 on the device, and the model, borrowed for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from benchbench.contract import Attack, Examples, KeyedGenerator, SplitName, Threat, derive_seed, frozen, in_mode
from benchbench.evaluation.candidate_checks import check_logits
from benchbench.evaluation.lending import Loan
from benchbench.events import EvaluationProgress, Listener
from benchbench.kernels.inputs import model_values

CPU_BATCH = 64  # more fall out of the cache: 512 cost twice the time per example
CUDA_BATCH = 512


@dataclass(frozen=True, kw_only=True)
class Split:
    """The examples of one split under evaluation, on the device.

    Attributes:
        name: ``"train"`` or ``"test"``.
        examples: uint8 images (N, C, H, W) or float32 features (N, ...), with int64 labels.
        rows: int64 (N,), the identity of each example in its dataset; keys every draw and names it in messages.
    """

    name: SplitName
    examples: Examples
    rows: Tensor

    def __len__(self) -> int:
        return len(self.examples)

    def batches(self, size: int) -> Iterator[Tensor]:
        """Positions of each batch, in order: int64, on the device."""
        for start in range(0, len(self), size):
            yield torch.arange(start, min(start + size, len(self)), device=self.rows.device)

    def images(self, positions: Tensor) -> Tensor:
        """Model inputs of some examples: float32, pixels / 255, in the memory layout that convolutions like best."""
        images = model_values(self.examples.inputs.index_select(0, positions))
        # Unlike `as_model_input`, this also changes the strides of grey images, and with them how convolutions round.
        return images.to(memory_format=torch.channels_last) if images.dim() == 4 else images

    def labels(self, positions: Tensor) -> Tensor:
        """Labels of some examples, int64."""
        return self.examples.labels.index_select(0, positions)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is tried, and how.

    Attributes:
        model: in evaluation mode with frozen parameters, on the device of the splits.
        splits: the examples.
        classes: number of classes.
        threat: ball and box.
        attack: the attack of the protocol.
        attack_name: its name, for messages and progress.
        seed: of the run.
        batch_size: examples per forward pass.
        listener: takes the progress.
    """

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
        """The model and the examples, to be lent to plugins."""
        tensors = {f"{name} images": split.examples.inputs for name, split in self.splits.items()}
        tensors |= {f"{name} labels": split.examples.labels for name, split in self.splits.items()}
        return Loan(self.model, tensors)

    def generator(self, split: Split, purpose: str, positions: Tensor) -> KeyedGenerator:
        """The draws of some examples, keyed by seed, purpose, split and example."""
        return KeyedGenerator(derive_seed(self.seed, purpose, split.name), split.rows[positions])

    def classify(self, images: Tensor, rows: Tensor, what: str) -> Tensor:
        """Predicted classes, int64 (N,) on the CPU, from logits that were checked."""
        with torch.no_grad():
            logits = self.model(images)
        return check_logits(logits, classes=self.classes, rows=rows, what=what).argmax(dim=1).cpu()

    def report(self, purpose: str, split: Split, done: int) -> None:
        """Tell the listener how far a purpose has come on a split."""
        self.listener(EvaluationProgress(purpose=f"{purpose} on {split.name}", done=done, total=len(split)))


def place(name: SplitName, examples: Examples, rows: Tensor, device: torch.device) -> Split:
    """Move a split to the device as it is: images stay uint8 there."""
    moved = Examples(inputs=examples.inputs.to(device), labels=examples.labels.to(device))
    return Split(name=name, examples=moved, rows=rows.to(device))


def default_batch_size(device: torch.device) -> int:
    """Examples per forward pass."""
    return CUDA_BATCH if device.type == "cuda" else CPU_BATCH


@contextmanager
def borrowed(model: nn.Module) -> Iterator[nn.Module]:
    """Run a block with the model in evaluation mode, frozen, its convolutions laid out channels-last; then as before."""
    with in_mode(model, training=False), frozen(model), _channels_last(model):
        yield model


@contextmanager
def _channels_last(model: nn.Module) -> Iterator[None]:
    before = [(parameter, parameter.data) for parameter in model.parameters() if parameter.dim() == 4]
    for parameter, data in before:
        # Unlike `contiguous`, `to` also gives a convolution over one channel the strides that its output follows.
        parameter.data = data.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for parameter, data in before:
            parameter.data = data
