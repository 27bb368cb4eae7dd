"""Networks without the memory for their weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def sketch(make: Callable[[], nn.Module]) -> nn.Module | None:
    """Make a network on torch's meta device; None if its constructor cannot work there."""
    try:
        with torch.device("meta"):
            return make()
    except (Exception, SystemExit):  # an architecture may raise anything here
        return None
