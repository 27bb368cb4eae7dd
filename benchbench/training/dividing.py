"""Whether a batch may go through the model in parts without changing what is learnt."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from benchbench.contract import StatefulDefense, SteppingDefense
from benchbench.errors import TrainingError


def check_divisible(model: nn.Module, defense: object) -> None:
    """Check that the summed loss of a batch is the sum of the losses of its parts.

    Raises:
        TrainingError: the memory does not suffice, and the model or the defense sees the batch as a whole.
    """
    reason = _obstacle(model, defense)
    if reason:
        raise TrainingError(
            f"out of memory, and the batch cannot be divided because {reason}",
            hint="train on a device with more memory, or choose a smaller batch_size (another protocol)",
        )


def _obstacle(model: nn.Module, defense: object) -> str:
    if isinstance(defense, SteppingDefense):
        return "the defense takes its own optimiser steps"
    if isinstance(defense, StatefulDefense):
        return "the defense carries state from batch to batch"
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            return "batch normalisation uses the statistics of the whole batch"
        if isinstance(module, _DropoutNd) and module.p > 0:
            return "dropout draws for the whole batch"
        if getattr(module, "drop_prob", None):  # timm's stochastic depth
            return "stochastic depth draws for the whole batch"
    return ""
