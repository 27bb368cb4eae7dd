"""Whether a batch may be computed in parts, or by several ranks, with the same result."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from benchbench.contract import StatefulDefense, SteppingDefense
from benchbench.errors import OutOfMemoryError
from benchbench.training.shared_layers import sees_whole_batch


def check_divisible(model: nn.Module, defense: object) -> None:
    """Raise OutOfMemoryError if a batch's loss is not the sum of the losses of its parts."""
    reason = _of_defense(defense) or _of_layers([*model.modules()])
    if reason:
        raise OutOfMemoryError(
            f"out of memory, and the batch cannot be divided because {reason}",
            hint="train on a device with more memory, or choose a smaller batch_size (another protocol)",
        )


def sharing_obstacle(model: nn.Module, defense: object) -> str:
    """Return why ranks cannot share a training's batches, or ""; see also `shared_layers`."""
    return _of_defense(defense) or _of_layers([module for module in model.modules() if not sees_whole_batch(module)])


def _of_defense(defense: object) -> str:
    if isinstance(defense, SteppingDefense):
        return "the defense takes its own optimiser steps"
    if isinstance(defense, StatefulDefense):
        return "the defense carries state from batch to batch"
    return ""


def _of_layers(modules: list[nn.Module]) -> str:
    for module in modules:
        if isinstance(module, _BatchNorm):
            return "batch normalisation uses the statistics of the whole batch"
        if isinstance(module, _DropoutNd) and module.p > 0:
            return "dropout draws for the whole batch"
        if getattr(module, "drop_prob", None):  # timm's stochastic depth
            return "stochastic depth draws for the whole batch"
    return ""
