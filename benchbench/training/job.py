"""What to train, and the loss of its batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.cell.recipe import Recipe
from benchbench.contract import BatchLoss, Defense, Examples, KeyedGenerator, Threat
from benchbench.contract.training import LoopDefense
from benchbench.errors import ContractError


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What to train and how."""

    model: nn.Module  # freshly initialised, on any device
    defense: LoopDefense
    examples: Examples
    rows: Tensor  # int64 (N,), the number of each example in its dataset; keys every draw
    threat: Threat  # ball and box that the defense trains for
    recipe: Recipe
    seed: int
    device: torch.device

    def loss(self, images: Tensor, labels: Tensor, generator: KeyedGenerator) -> BatchLoss:
        """Return the defense's loss of a batch or a part of one; raise ContractError if it has none."""
        if not isinstance(self.defense, Defense):
            raise ContractError(f"{type(self.defense).__name__} has no method loss")
        result = self.defense.loss(self.model, images, labels, threat=self.threat, generator=generator)
        return check_loss(result, self.defense)


def check_loss(result: object, defense: object) -> BatchLoss:
    """Return a defense's result if it is a scalar loss; else raise ContractError."""
    if not isinstance(result, BatchLoss) or result.loss.dim() != 0:
        raise ContractError(
            f"{type(defense).__name__} returned {result!r}",
            hint="expected a BatchLoss with a scalar loss, summed over the batch",
        )
    return result
