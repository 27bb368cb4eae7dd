"""Batches of the examples that an attack still works on, and values for each example."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchbench.contract import full_precision

QUEUE_LENGTH = 1024  # examples per call, packed into full batches whenever some of them are fooled


def batch_width(images: Tensor) -> int:
    """Examples per pass: over about 64 leave a CPU's cache, under about 512 leave a GPU idle."""
    return 64 if images.device.type == "cpu" else 512


def batches(rows: Tensor, width: int) -> Iterator[Tensor]:
    """Split positions into batches; none for none."""
    if len(rows):
        yield from torch.split(rows, width)


@torch.no_grad()
def clean_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Logits of the images in float32, batch by batch."""
    with full_precision(images.device):
        return torch.cat([model(part) for part in torch.split(images, batch_width(images))])


def broadcast(values: Tensor, images: Tensor) -> Tensor:
    """View one value per example (N,) so that it multiplies images (N, ...)."""
    return values.view(-1, *[1] * (images.dim() - 1))
