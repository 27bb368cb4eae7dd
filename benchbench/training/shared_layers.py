"""Dropout and batch normalisation of a whole batch, of which each rank holds a part.

Dropout draws the mask of the whole batch on every rank and uses the rank's rows of it, so the masks are those of one process.
Batch normalisation computes mean and variance over the examples of all ranks. It does not use torch's ``SyncBatchNorm``, which
refuses CPU tensors, has no second derivative (LLR needs one), and cannot exclude the examples that a rank has borrowed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from benchbench.contract import StatefulDefense, SteppingDefense
from benchbench.errors import ContractError, OutOfMemoryError
from benchbench.kernels.layers import other_forward
from benchbench.ranks.group import Part, Ranks

_DROPOUTS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.Dropout: F.dropout,
    nn.Dropout1d: F.dropout1d,
    nn.Dropout2d: F.dropout2d,
    nn.Dropout3d: F.dropout3d,
}
_OF_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(kw_only=True)
class BatchInParts:
    """The ranks that share a batch, and this rank's part of it, which is set before each step."""

    ranks: Ranks
    part: Part


def sees_whole_batch(module: nn.Module) -> bool:
    """Whether a layer can be made to see the whole batch; not its subclasses, which may differ."""
    return type(module) in _DROPOUTS or type(module) in _NORMALISATIONS


def whole_batch_layers(model: nn.Module, batch: BatchInParts) -> AbstractContextManager[None]:
    """Within the block, dropout and batch normalisation work across ranks; their state is kept."""

    def forward(module: nn.Module, inputs: Tensor) -> Tensor:
        return (_drop if type(module) in _DROPOUTS else _normalise)(module, inputs, batch)

    return other_forward(model, sees_whole_batch, forward, over=lambda _: True)


def _drop(module: nn.Module, inputs: Tensor, batch: BatchInParts) -> Tensor:
    """Apply this rank's rows of the whole batch's dropout mask."""
    probability = float(module.p)  # type: ignore[arg-type]
    if not module.training or probability == 0:
        return inputs
    parts, rest = divmod(len(inputs), len(batch.part))
    if rest:
        raise ContractError(
            f"dropout sees {len(inputs)} examples where a rank holds {len(batch.part)} of the batch",
            hint="a loss that passes some examples of a batch through dropout cannot be shared between ranks",
        )
    sizes = inputs.shape[1:2] + (1,) * (inputs.dim() - 2) if type(module) in _OF_CHANNELS else inputs.shape[1:]
    ones = torch.ones(parts * batch.part.whole, *sizes, dtype=inputs.dtype, device=inputs.device)
    ones = ones.contiguous(memory_format=_layout(inputs))  # the layout decides the order of the draws
    mask = _DROPOUTS[type(module)](ones, probability, training=True)
    own = torch.cat([rows[batch.part.first : batch.part.last] for rows in torch.split(mask, batch.part.whole)])
    return inputs * own


def _layout(inputs: Tensor) -> torch.memory_format:
    nhwc = inputs.dim() == 4 and inputs.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if nhwc and not inputs.is_contiguous() else torch.contiguous_format


def _normalise(module: nn.Module, inputs: Tensor, batch: BatchInParts) -> Tensor:
    """Normalise by the statistics of the whole batch in training mode."""
    if not (isinstance(module, _NORMALISATIONS) and module.training):
        return type(module).forward(module, inputs)  # type: ignore[no-any-return]
    module._check_input_dim(inputs)
    if inputs.dtype == torch.bfloat16:  # statistics are float32, as in torch
        return _normalise(module, inputs.float(), batch).to(inputs.dtype)
    counted = inputs if batch.part.counts else inputs[:0]
    over = [axis for axis in range(inputs.dim()) if axis != 1]
    shape = [1, -1] + [1] * (inputs.dim() - 2)
    count = inputs.new_full((1,), counted.numel() / inputs.shape[1])
    sums = batch.ranks.total_in_layer(torch.cat([counted.sum(over), count]))
    mean, count = sums[:-1] / sums[-1], sums[-1].detach()
    variance = batch.ranks.total_in_layer((counted - mean.view(shape)).square().sum(over)) / count
    if float(count) <= 1:
        raise ValueError("batch normalisation needs more than 1 value per channel in training")
    _keep_statistics(module, mean.detach(), variance.detach() * (count / (count - 1)))
    if not batch.part.counts:
        mean, variance = _mute(mean), _mute(variance)
    scale = (variance + module.eps).rsqrt()
    if module.affine:
        scale = scale * module.weight
    outputs: Tensor = (inputs - mean.view(shape)) * scale.view(shape)
    return outputs + module.bias.view(shape) if module.affine else outputs


def _mute(statistic: Tensor) -> Tensor:
    """Set the gradient of a statistic to 0, so that borrowed examples do not move others.

    It stays in the graph, because the sums over ranks in the backward pass wait for this rank.
    """
    return statistic.detach() + 0.0 * (statistic - statistic.detach())


def _keep_statistics(module: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d, mean: Tensor, variance: Tensor) -> None:
    if module.running_mean is None or module.running_var is None or module.num_batches_tracked is None:
        return
    with torch.no_grad():
        module.num_batches_tracked.add_(1)
        share = 1.0 / float(module.num_batches_tracked) if module.momentum is None else module.momentum
        module.running_mean.lerp_(mean, share)
        module.running_var.lerp_(variance, share)


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
