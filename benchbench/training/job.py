"""What to train, and the loss of its batches."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from benchbench.contract import BatchLoss, Defense, Examples, KeyedGenerator, Progress, Threat
from benchbench.contract.recipe import Recipe
from benchbench.contract.training import AnyDefense
from benchbench.errors import ContractError


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What to train and how."""

    model: nn.Module  # freshly initialised, on any device
    defense: AnyDefense  # a `FittingDefense` is not for the loop
    examples: Examples
    rows: Tensor  # int64 (N,), the number of each example in its dataset; keys every draw
    threat: Threat  # ball and box that the defense trains for
    recipe: Recipe
    seed: int
    device: torch.device
    validation: Examples | None = None  # held out of training, in the shape of test examples
    validation_rows: Tensor = field(default_factory=lambda: torch.empty(0))  # like `rows`
    scores_robust: bool = True  # whether the split is attacked, too: not if the threat is no part of the training
    classes: int = 0  # only needed to smooth labels

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return math.ceil(len(self.examples) / self.recipe.batch_size)

    def progress(self, epoch: int, step: int) -> Progress:
        """The progress before a step of an epoch, both counted from 0."""
        return Progress(epoch=epoch, step=step, epochs=self.recipe.epochs, steps=self.steps)

    def targets(self, labels: Tensor) -> Tensor:
        """What the defense receives as labels: probabilities where the recipe smooths labels."""
        if not self.recipe.label_smoothing:
            return labels
        share = self.recipe.label_smoothing
        return (1.0 - share) * nn.functional.one_hot(labels, self.classes).float() + share / self.classes

    def loss(self, images: Tensor, labels: Tensor, generator: KeyedGenerator) -> BatchLoss:
        """Return the defense's loss of a batch or a part of one; raise ContractError if it has none."""
        if not isinstance(self.defense, Defense):
            raise ContractError(f"{type(self.defense).__name__} has no method loss")
        labels = self.targets(labels)
        result = self.defense.loss(self.model, images, labels, threat=self.threat, generator=generator)
        return check_loss(result, self.defense)


def check_loss(result: object, defense: object) -> BatchLoss:
    """Return a defense's result if it is a scalar loss; else raise ContractError."""
    if not isinstance(result, BatchLoss) or not isinstance(result.loss, Tensor) or result.loss.dim():
        raise ContractError(
            f"{type(defense).__name__} returned {_described(result)}",
            hint="expected a BatchLoss with a scalar loss, summed over the batch",
        )
    return result


def _described(result: object) -> str:
    """A defense's result in a few words: numbers of a large tensor would hide what is expected."""
    if not isinstance(result, BatchLoss):
        return f"an object of type {type(result).__name__}"
    loss: object = result.loss  # a plugin may not be type-checked
    return f"a loss of {f'shape {tuple(loss.shape)}' if isinstance(loss, Tensor) else f'type {type(loss).__name__}'}"
