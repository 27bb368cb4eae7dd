"""The margin of an example: how far it is on the wrong side of the decision boundary."""

from __future__ import annotations

import torch
from torch import Tensor

# An example that a rounded search left this close to being fooled, as a share of its largest logit, is searched once more in
# float32: bfloat16 keeps eight bits of a logit, and the verdicts that rounding turned were of examples much closer.
CLOSE = 0.02
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


def all_but_fooled(logits: Tensor, margins: Tensor) -> Tensor:
    """Whether the strongest candidate comes so close to fooling the model that rounding may have been what kept it from it.

    Args:
        logits: float (N, classes), of about the size of the candidates' own, for instance the clean ones.
        margins: float (N,), of the candidates.

    Returns:
        bool (N,).
    """
    return margins > -CLOSE * logits.abs().amax(dim=1)


def surely_fooled(logits: Tensor, margins: Tensor) -> Tensor:
    """Whether the model is fooled beyond what rounding could undo.

    Args:
        logits: float (N, classes).
        margins: float (N,), those of the logits.

    Returns:
        bool (N,).
    """
    return margins > ROUNDING * logits.abs().amax(dim=1)


def keep_better(kept: Tensor, rows: Tensor, better: Tensor, offered: Tensor) -> None:
    """Put what is offered for some rows where it is better, without asking the device how many these are.

    Args:
        kept: (N, ...), changed in place.
        rows: int64 (M,), all different.
        better: bool (M,).
        offered: (M, ...).
    """
    before = kept.index_select(0, rows)
    kept.index_copy_(0, rows, torch.where(better.view(-1, *[1] * (before.dim() - 1)), offered, before))
