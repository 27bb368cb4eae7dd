"""The margin of an example: how far it is on the wrong side of the decision boundary."""

from __future__ import annotations

import torch
from torch import Tensor

# A margin counts as fooled only beyond what another batch size or memory layout could round away, relative to the logits.
ROUNDING = 1e-5


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The largest wrong logit minus the right one: above 0 exactly where the model is fooled.

    Args:
        logits: float (N, classes), at least two classes.
        labels: int64 (N,).

    Returns:
        float (N,).
    """
    return wrong_logits(logits, labels).amax(dim=1) - logits.gather(1, labels[:, None])[:, 0]


def wrong_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits with -inf in the place of the right class, float (N, classes)."""
    return logits.scatter(1, labels[:, None], -torch.inf)


def surely_fooled(logits: Tensor, margins: Tensor) -> Tensor:
    """Whether the model is fooled beyond what rounding could undo.

    Args:
        logits: float (N, classes).
        margins: float (N,), those of the logits.

    Returns:
        bool (N,).
    """
    return margins > ROUNDING * logits.abs().amax(dim=1)
