"""What to train, and in which form the model sees it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchbench.contract import BatchLoss, Defense, Examples, SteppingDefense, Threat
from benchbench.errors import ContractError
from benchbench.recipe import Recipe


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


def as_model_input(inputs: Tensor) -> Tensor:
    """What the model sees: uint8 pixels become float32 in [0, 1], images in the faster channels-last layout."""
    values = inputs.float().div_(255.0) if inputs.dtype == torch.uint8 else inputs.float()
    return values.contiguous(memory_format=memory_format(values))


def memory_format(inputs: Tensor) -> torch.memory_format:
    """Channels-last for images, which convolutions like best."""
    return torch.channels_last if inputs.dim() == 4 else torch.contiguous_format


def check_loss(result: object, defense: object) -> BatchLoss:
    """Return what a defense returned if it is a loss, summed over the batch.

    Raises:
        ContractError: it is none.
    """
    if not isinstance(result, BatchLoss) or result.loss.dim() != 0:
        raise ContractError(
            f"{type(defense).__name__} returned {result!r}",
            hint="expected a BatchLoss with a scalar loss, summed over the batch",
        )
    return result
