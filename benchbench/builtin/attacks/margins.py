"""The margin of an example: how far it is on the wrong side of the decision boundary."""

from __future__ import annotations

import torch
from torch import Tensor

from benchbench.builtin.attacks.batching import broadcast

# After a rounded search, an example whose margin is within this share of its largest logit is searched once more in float32:
# bfloat16 keeps eight bits of a logit, and the verdicts that rounding changed were of examples much closer.
CLOSE = 0.02
# A margin counts as fooled only beyond what another batch size or memory layout could round away, relative to the logits.
ROUNDING = 1e-5


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Largest wrong logit minus the right one, float (N,): above 0 exactly where fooled.

    Args:
        logits: float (N, classes), at least two classes.
        labels: int64 (N,).
    """
    return wrong_logits(logits, labels).amax(dim=1) - logits.gather(1, labels[:, None])[:, 0]


def wrong_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits with -inf in the place of the right class, float (N, classes)."""
    return logits.scatter(1, labels[:, None], -torch.inf)


def likely_targets(logits: Tensor, labels: Tensor) -> Tensor:
    """The wrong classes of each example by falling logit, int64 (N, classes - 1)."""
    return wrong_logits(logits, labels).argsort(dim=1, descending=True, stable=True)[:, :-1]


def all_but_fooled(logits: Tensor, margins: Tensor) -> Tensor:
    """Whether only rounding may have kept a candidate from fooling the model, bool (N,).

    Args:
        logits: float (N, classes), of about the size of the candidates' own, for instance the clean ones.
        margins: float (N,), of the candidates.
    """
    return margins > -CLOSE * logits.abs().amax(dim=1)


def surely_fooled(logits: Tensor, margins: Tensor) -> Tensor:
    """Whether logits (N, classes) of margins (N,) fool the model beyond rounding, bool (N,)."""
    return margins > ROUNDING * logits.abs().amax(dim=1)


def keep_better(kept: Tensor, rows: Tensor, better: Tensor, offered: Tensor) -> None:
    """Overwrite rows of `kept` with the better offered ones, without waiting for the device.

    Args:
        kept: (N, ...), changed in place.
        rows: int64 (M,), all different.
        better: bool (M,).
        offered: (M, ...).
    """
    before = kept.index_select(0, rows)
    kept.index_copy_(0, rows, torch.where(broadcast(better, before), offered, before))
