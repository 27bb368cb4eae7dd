"""Signs that gradients mislead an attack, or that answers depend on more than the example."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchbench.contract import Threat, ascend
from benchbench.evaluation.specimens import Specimens, attached
from benchbench.kernels.determinism import own_draws

TOLERATED = 0.1  # share of the inspected examples above which a sign of the gradients counts
REPEATABLE = 1e-3  # of the largest logit: how far kernels may differ from call to call
ALIKE = 1e-2  # of the largest difference of logits: how far kernels may differ between batch sizes
_ALONE = 8  # examples that the model also receives one by one


def gradients_are_missing(specimens: Specimens) -> bool:
    """Whether over a tenth of the input gradients are zero or not finite: gradient masking.

    A natural network's gradients get small, yet vanish in float32 only if every other class is beyond exp(-88), as in a
    saturated softmax.
    """
    images = specimens.images.clone().requires_grad_(True)
    with torch.enable_grad():
        loss = cross_entropy(specimens.model(images), specimens.labels, reduction="sum")
    if not loss.requires_grad:  # the model is detached from its input
        return True
    (gradient,) = torch.autograd.grad(loss, images, allow_unused=True)
    if gradient is None:
        return True
    flat = gradient.flatten(1)
    return _too_many(~flat.isfinite().all(dim=1) | (flat == 0).all(dim=1))


def loss_does_not_rise(specimens: Specimens) -> bool:
    """Whether ten small gradient steps fail to raise the loss of more than a tenth."""
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
    """Whether gradient steps through the whole box leave more than a tenth correct.

    In the whole box each image can become any other.
    """
    lower, upper = specimens.threat.lower, specimens.threat.upper
    if not (math.isfinite(lower) and math.isfinite(upper)):  # features: twice their range
        width = 2 * float(specimens.images.max() - specimens.images.min())
    else:
        width = upper - lower
    threat = Threat(norm="linf", epsilon=width, lower=lower, upper=upper)
    return _too_many(~_climb(specimens, threat, steps=20, step_size=width / 10).fooled)


def answers_change(specimens: Specimens) -> bool:
    """Whether the same inputs get other logits in another call: a random defense.

    The attack then may have succeeded by luck.
    """
    inputs = torch.cat([specimens.images, specimens.candidates])
    with own_draws(inputs.device):
        first, *others = (specimens.ask(inputs) for _ in range(3))
    allowed = REPEATABLE * max(1.0, float(first.abs().max()))
    return any(float((other - first).abs().max()) > allowed for other in others)


@torch.no_grad()
def answers_depend_on_batch(specimens: Specimens) -> bool:
    """Whether an example alone, in another order or in another batch gets another answer.

    Batch statistics do this. The whole batch is evaluated twice before and once after, to exclude models that change from
    call to call: those are for `answers_change`.
    """
    images, others = specimens.images, specimens.candidates
    with own_draws(images.device):
        whole = specimens.model(images)
        if not _alike(whole, specimens.model(images), whole):
            return False
        try:
            alone = torch.cat([specimens.model(images[i : i + 1]) for i in range(min(_ALONE, len(images)))])
        except (RuntimeError, ValueError):  # batch statistics of a single example may not be defined
            return True
        turned = specimens.model(images.flip(0)).flip(0)
        few = len(images) // 2
        company = specimens.model(torch.cat([images[:few], others[few:].flip(0)]))[:few]
        again = specimens.model(images)
    if not _alike(whole, again, whole):
        return False
    compared = ((whole[: len(alone)], alone), (whole, turned), (whole[:few], company))
    return not all(_alike(here, there, whole) for here, there in compared)


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


def _alike(here: Tensor, there: Tensor, scale: Tensor) -> bool:
    spread = float((scale - scale.mean(dim=1, keepdim=True)).abs().max())
    rounding = 1e-5 * float(scale.abs().max())  # of differences between logits that are all large
    return float((here - there).abs().max()) <= max(ALIKE * spread, rounding)
