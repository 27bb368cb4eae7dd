"""How stored inputs become what a model sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing benchbench must not import torch
    import torch
    from torch import Tensor


def as_model_input(inputs: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Convert stored inputs for the model: pixels / 255, images in the faster channels-last.

    The inputs are uint8 pixels or float features (N, ...), as `benchbench.contract.Examples` holds them; the result is float
    (N, ...), of dtype float32 by default. Features keep their values.
    """
    values = model_values(inputs, dtype)
    return values.contiguous(memory_format=memory_format(values))


def model_values(inputs: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Convert stored inputs like `as_model_input`, but keep their memory layout."""
    import torch

    values = inputs.to(dtype or torch.float32)
    return values.div_(255.0) if inputs.dtype == torch.uint8 else values


def memory_format(inputs: Tensor) -> torch.memory_format:
    """Return channels-last for images, the fastest layout for convolutions."""
    import torch

    return torch.channels_last if inputs.dim() == 4 else torch.contiguous_format
