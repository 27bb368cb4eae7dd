"""Signs that an attack could not do its work, shown as flags on the row.

Each indicator takes evidence and says yes or no; `INDICATORS` lists them under the names of their flags.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import torch
from torch.nn.functional import cross_entropy

from benchbench.contract import Evidence

INSPECTED_BATCHES = 4  # an indicator needs no more to tell one model in ten from none
ZERO_GRADIENT_SHARE = 0.1  # of the examples, beyond which gradients are said to be missing


def diagnose(evidence: Evidence) -> tuple[str, ...]:
    """The flags of a model under attack, sorted."""
    return tuple(sorted(flag for flag, indicates in INDICATORS.items() if indicates(evidence)))


def gradients_are_missing(evidence: Evidence) -> bool:
    """Whether more than a tenth of the inspected test examples have an input gradient that is all zero or not finite.

    Gradient masking of this kind is indicator 1 of Carlini et al., "On Evaluating Adversarial Robustness", 2019; a
    natural network's gradients get small, yet vanish in float32 only if some other class is beyond exp(-88).
    """
    missing = total = 0
    for images, labels, _ in islice(evidence.batches("test", "diagnostics"), INSPECTED_BATCHES):
        with torch.enable_grad():
            loss = cross_entropy(evidence.model(images.requires_grad_(True)), labels, reduction="sum")
        if not loss.requires_grad:  # nothing in the model depends on the input in a differentiable way
            missing, total = missing + len(images), total + len(images)
            continue
        (gradient,) = torch.autograd.grad(loss, images)
        flat = gradient.flatten(1)
        missing += int((~flat.isfinite().all(dim=1) | (flat == 0).all(dim=1)).sum())
        total += len(images)
    return missing > ZERO_GRADIENT_SHARE * total


INDICATORS: dict[str, Callable[[Evidence], bool]] = {"zero-gradients": gradients_are_missing}
