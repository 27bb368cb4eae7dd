"""How stored inputs become what a model sees."""

from __future__ import annotations

import torch
from torch import Tensor


def as_model_input(inputs: Tensor) -> Tensor:
    """What the model sees: uint8 pixels become float32 in [0, 1], images in the faster channels-last layout."""
    values = inputs.float().div_(255.0) if inputs.dtype == torch.uint8 else inputs.float()
    return values.contiguous(memory_format=memory_format(values))


def memory_format(inputs: Tensor) -> torch.memory_format:
    """Channels-last for images, which convolutions like best."""
    return torch.channels_last if inputs.dim() == 4 else torch.contiguous_format
