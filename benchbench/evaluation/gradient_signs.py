"""Signs that a model's gradients are of no use to an attack that lives off them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchbench.contract import Threat, ascend
from benchbench.evaluation.specimens import Specimens, attached

TOLERATED = 0.1  # share of the examples looked at beyond which a sign counts


def gradients_are_missing(specimens: Specimens) -> bool:
    """Whether more than a tenth of the input gradients are all zero or not finite: gradient masking.

    A natural network's gradients get small, yet vanish in float32 only if every other class is beyond exp(-88), as in a
    saturated softmax.
    """
    images = specimens.images.clone().requires_grad_(True)
    with torch.enable_grad():
        loss = cross_entropy(specimens.model(images), specimens.labels, reduction="sum")
    if not loss.requires_grad:  # nothing in the model depends on the input in a differentiable way
        return True
    (gradient,) = torch.autograd.grad(loss, images, allow_unused=True)
    if gradient is None:
        return True
    flat = gradient.flatten(1)
    return _too_many(~flat.isfinite().all(dim=1) | (flat == 0).all(dim=1))


def loss_does_not_rise(specimens: Specimens) -> bool:
    """Whether the loss of more than a tenth has not risen after ten small steps along its gradient, from the image itself."""
    threat = specimens.threat
    if threat.epsilon == 0:
        return False
    moved = _climb(specimens, threat, steps=10, step_size=threat.epsilon / 10).last
    before, after = (
        cross_entropy(specimens.ask(inputs).double(), specimens.labels, reduction="none")
        for inputs in (specimens.images, moved)
    )
    return _too_many(~(after > before))


def withstands_any_perturbation(specimens: Specimens) -> bool:
    """Whether gradient steps through the whole box, where any image can become any other, leave more than a tenth right."""
    lower, upper = specimens.threat.lower, specimens.threat.upper
    if not (math.isfinite(lower) and math.isfinite(upper)):  # features: twice as far as they lie apart
        width = 2 * float(specimens.images.max() - specimens.images.min())
    else:
        width = upper - lower
    threat = Threat(norm="linf", epsilon=width, lower=lower, upper=upper)
    return _too_many(~_climb(specimens, threat, steps=20, step_size=width / 10).fooled)


@dataclass(frozen=True, kw_only=True)
class _Climb:
    """The last iterate, and whether any iterate was misclassified."""

    last: Tensor
    fooled: Tensor


def _climb(specimens: Specimens, threat: Threat, *, steps: int, step_size: float) -> _Climb:
    fooled = torch.zeros_like(specimens.withstood)

    def loss(candidates: Tensor) -> Tensor:
        logits: Tensor = specimens.model(candidates)
        fooled.logical_or_(logits.detach().argmax(dim=1) != specimens.labels)
        return attached(cross_entropy(logits, specimens.labels, reduction="sum"), candidates)

    last = ascend(loss, specimens.images, specimens.images, threat=threat, steps=steps, step_size=step_size)
    fooled.logical_or_(specimens.ask(last).argmax(dim=1) != specimens.labels)
    return _Climb(last=last, fooled=fooled)


def _too_many(signs: Tensor) -> bool:
    return int(signs.sum()) > TOLERATED * len(signs)
