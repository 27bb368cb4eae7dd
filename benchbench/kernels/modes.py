"""Set a model's mode or freeze its parameters for a block, and restore them after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[nn.Module]:
    """Run a block with all submodules in one mode, and restore each one's mode after it."""
    before = {module: module.training for module in model.modules()}
    try:
        model.train(training)
    except NotImplementedError:  # a program of torch.export, anywhere in it, keeps the mode that it was exported in
        for module in before:
            module.training = training
    try:
        yield model
    finally:
        for module, was_training in before.items():
            module.training = was_training


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """Run a block without gradients of parameters, so that attacks do not compute them.

    Within it, first convolutions pass gradients back to the images faster, and sequences of layers need less memory traffic;
    see `benchbench.kernels.layers`. Recordings made within it are kept until it ends (`benchbench.contract.replayed`).
    """
    from benchbench.kernels.fused_sequences import fused_sequences
    from benchbench.kernels.graphs import keeping_recordings
    from benchbench.kernels.layers import quick_narrow_convolutions, quick_sequences, repeatable_pooling

    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for parameter, _ in before:
        parameter.requires_grad_(False)
    try:
        with ExitStack() as ways:
            ways.enter_context(keeping_recordings())
            for quicker in (repeatable_pooling, fused_sequences, quick_narrow_convolutions, quick_sequences):
                ways.enter_context(quicker(model))
            yield model
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)
