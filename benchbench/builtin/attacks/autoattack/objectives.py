"""Objectives of Auto-PGD: cross-entropy and scale-free difference of logits ratio (DLR)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.nn.functional import cross_entropy

from benchbench.builtin.attacks.margins import margin

LossName = Literal["ce", "dlr", "dlr-targeted"]
TargetedObjective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps logits (N, classes), labels (N,) and targets (N,) to values (N,), to be ascended."""

_TINY = 1e-12  # keeps the ratio finite where all logits are equal


def objective(loss: LossName) -> TargetedObjective:
    """The objective of a loss; the untargeted ones ignore the targets."""
    if loss == "dlr-targeted":
        return targeted_dlr
    if loss == "dlr":
        return lambda logits, labels, _: dlr(logits, labels)
    return lambda logits, labels, _: cross_entropy(logits, labels, reduction="none")


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio, Croce & Hein 2020, equation 6.

    -(z_y - max_{i != y} z_i) / (z_(1) - z_(3)) with z_(k) the k-th largest logit. With two classes there is no third
    logit, and every ratio of differences is constant: it is the margin itself then.

    Args:
        logits: float (N, classes), at least two classes.
        labels: int64 (N,).

    Returns:
        float (N,), above 0 exactly where the model is fooled.
    """
    if logits.shape[1] < 3:
        return margin(logits, labels)
    largest = logits.topk(3, dim=1).values
    return margin(logits, labels) / (largest[:, 0] - largest[:, 2] + _TINY)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Targeted difference of logits ratio, Croce & Hein 2020, equation 7.

    -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), which needs four classes: the authors' code refuses fewer. With three classes
    the denominator takes the two smallest logits, as z_(3) and z_(4) are of four: z_(1) - (z_(2) + z_(3)) / 2. So the ratio
    does not depend on the logits' scale, not even where that depends on the input, and the gradient towards the target vanishes
    only where the third class has caught up with the label. (Over z_(1) - z_(3), a target that ranks third would have the
    constant ratio -1.) With two classes every ratio of differences is constant: it is the difference z_t - z_y then.

    Args:
        logits: float (N, classes), at least two classes.
        labels: int64 (N,).
        targets: int64 (N,), none of them the label.

    Returns:
        float (N,), above 0 only where the model is fooled.
    """
    rise = logits.gather(1, targets[:, None])[:, 0] - logits.gather(1, labels[:, None])[:, 0]
    if logits.shape[1] < 3:
        return rise
    largest = logits.topk(min(4, logits.shape[1]), dim=1).values
    return rise / (largest[:, 0] - largest[:, -2:].mean(dim=1) + _TINY)
