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
    """What to train and how.

    Attributes:
        model: the freshly initialised network, on any device.
        defense: gives a loss, or takes its own steps.
        examples: uint8 images (N, C, H, W) or float32 features, with int64 labels.
        rows: int64 (N,), the number of each example in its dataset; keys every draw.
        threat: ball and box that the defense trains for.
    """

    model: nn.Module
    defense: LoopDefense
    examples: Examples
    rows: Tensor
    threat: Threat
    recipe: Recipe
    seed: int
    device: torch.device

    def loss(self, images: Tensor, labels: Tensor, generator: KeyedGenerator) -> BatchLoss:
        """Return the defense's loss of a batch, or of a part of one, after checks.

        Raises:
            ContractError: the defense has no loss, or the loss is no scalar.
        """
        if not isinstance(self.defense, Defense):
            raise ContractError(f"{type(self.defense).__name__} has no method loss")
        result = self.defense.loss(self.model, images, labels, threat=self.threat, generator=generator)
        return check_loss(result, self.defense)


def check_loss(result: object, defense: object) -> BatchLoss:
    """Return a defense's result if it is a scalar loss.

    Raises:
        ContractError: it is not.
    """
    if not isinstance(result, BatchLoss) or result.loss.dim() != 0:
        raise ContractError(
            f"{type(defense).__name__} returned {result!r}",
            hint="expected a BatchLoss with a scalar loss, summed over the batch",
        )
    return result
