"""The context that torch passes to the methods of an autograd function."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Context(Protocol):
    """The members that functions here use; torch's own class does not declare all of them."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for the backward pass."""
        ...

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Declare inputs that the forward pass has overwritten."""
        ...
