"""The limit: bare forward and input-gradient passes, float32, contiguous, batches of 64."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.subjects import BATCH


def input_gradients(model: nn.Module, images: Tensor, labels: Tensor, *, passes: int) -> None:
    """Pass over all images without benchbench: forward, and the gradient for the input only."""
    model.requires_grad_(False)
    for part, truth in zip(images.split(BATCH), labels.split(BATCH)):
        for _ in range(passes):
            inputs = part.detach().requires_grad_(True)
            torch.autograd.grad(cross_entropy(model(inputs), truth, reduction="sum"), inputs)


def forwards(model: nn.Module, images: Tensor, *, passes: int) -> None:
    """Forward passes over all images, without gradient."""
    with torch.no_grad():
        for part in images.split(BATCH):
            for _ in range(passes):
                model(part)


def adversarial_epoch(model: nn.Module, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Necessary work of an AT epoch: per batch ten input gradients, one for weights, one update."""
    model.train()
    for part, truth in zip(images.split(BATCH), labels.split(BATCH)):
        input_gradients(model, part, truth, passes=10)
        model.requires_grad_(True)
        optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(model(part), truth, reduction="sum")
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
