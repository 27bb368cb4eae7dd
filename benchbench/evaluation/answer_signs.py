"""Signs that a model's answer to an example depends on more than the example."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from benchbench.evaluation.specimens import Specimens

REPEATABLE = 1e-3  # of the largest logit: what kernels may differ by from call to call
ALIKE = 1e-2  # of the largest difference of logits: what kernels may differ by from one size of batch to another
_ALONE = 8  # examples that are also asked about one by one


def answers_change(specimens: Specimens) -> bool:
    """Whether the same inputs get other logits when asked again: a random defense, whose luck an attack's success was."""
    inputs = torch.cat([specimens.images, specimens.candidates])
    with _own_randomness(inputs):
        first, *others = (specimens.ask(inputs) for _ in range(3))
    allowed = REPEATABLE * max(1.0, float(first.abs().max()))
    return any(float((other - first).abs().max()) > allowed for other in others)


@torch.no_grad()
def answers_depend_on_batch(specimens: Specimens) -> bool:
    """Whether an example alone, in another order or in other company gets another answer, as by batch statistics.

    Each of these is asked twice and compared with the batch as it was, also asked twice: what changes by itself is random, and
    `answers_change` says so.
    """
    images, others = specimens.images, specimens.candidates
    with _own_randomness(images):
        whole = specimens.model(images)
        if not _alike(whole, specimens.model(images), whole):
            return False  # it changes by itself
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


def _alike(here: Tensor, there: Tensor, scale: Tensor) -> bool:
    spread = float((scale - scale.mean(dim=1, keepdim=True)).abs().max())
    rounding = 1e-5 * float(scale.abs().max())  # where all logits are large, their differences are rounded
    return float((here - there).abs().max()) <= max(ALIKE * spread, rounding)


def _own_randomness(inputs: Tensor) -> AbstractContextManager[None]:
    """What a model draws from torch's global generator within the block is drawn from a copy."""
    return torch.random.fork_rng(devices=[inputs.device] if inputs.is_cuda else [])
