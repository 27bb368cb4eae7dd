"""Misclassification-aware adversarial training (Wang et al., ICLR 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.contract import (
    BatchLoss,
    CrossEntropy,
    KeyedGenerator,
    Threat,
    ascend,
    frozen,
    in_mode,
    normal_start,
    require,
)

_START_DEVIATION = 0.001
_SMALLEST = 1e-12  # keeps the logarithm of a vanishing probability finite


class Mart:
    """Boosted adversarial cross-entropy plus a KL term that weighs misclassified examples more.

    Args:
        lam: weight of the KL term, lambda in the paper, at least 0; 6 is the default of the authors' released loss.
        steps: sign steps of the inner maximisation, at least 1.
        step_ratio: step size over epsilon, above 0; the authors' 0.007 for epsilon 0.031 is about 1/4.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(self, *, lam: float = 6.0, steps: int = 10, step_ratio: float = 0.25) -> None:
        require(
            {
                f"lam must be at least 0, got {lam}": lam >= 0,
                f"steps must be at least 1, got {steps}": steps >= 1,
                f"step_ratio must be above 0, got {step_ratio}": step_ratio > 0,
            }
        )
        self.lam = lam
        self.steps = steps
        self.step_ratio = step_ratio

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The sum over the batch of BCE(f(x'), y) + lam * KL(p(x) || p(x')) * (1 - p_y(x))."""
        adversarial = self._maximise(model, images, labels, threat, generator)
        clean_logits, adversarial_logits = model(images), model(adversarial)
        loss = boosted_cross_entropy(adversarial_logits, labels) + self.lam * weighted_divergence(
            clean_logits, adversarial_logits, labels
        )
        return BatchLoss(loss=loss.sum(), logits=clean_logits)

    def _maximise(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """PGD on the cross-entropy from x + 0.001 N(0, 1), in evaluation mode, as released."""
        start, cross_entropy = (
            normal_start(images, deviation=_START_DEVIATION, generator=generator),
            CrossEntropy(labels),
        )
        with in_mode(model, training=False), frozen(model):
            return ascend(
                lambda candidates: cross_entropy(model(candidates)),
                start,
                images,
                threat=threat,
                steps=self.steps,
                step_size=self.step_ratio * threat.epsilon,
            )


def boosted_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p_y - log(1 - max over k != y of p_k) per example.

    Args:
        logits: float (N, classes).
        labels: int64 (N,).

    Returns:
        float (N,), at least 0.
    """
    others = logits.softmax(dim=1).scatter(1, labels[:, None], 0.0)
    margin = -torch.log((1.0 - others.amax(dim=1)).clamp(min=_SMALLEST))
    return F.cross_entropy(logits, labels, reduction="none") + margin


def weighted_divergence(clean_logits: Tensor, adversarial_logits: Tensor, labels: Tensor) -> Tensor:
    """KL(p(x) || p(x')) * (1 - p_y(x)) per example.

    Args:
        clean_logits: float (N, classes), for x.
        adversarial_logits: float (N, classes), for x'.
        labels: int64 (N,).

    Returns:
        float (N,), at least 0.
    """
    clean, adversarial = clean_logits.log_softmax(dim=1), adversarial_logits.log_softmax(dim=1)
    divergence = F.kl_div(adversarial, clean, reduction="none", log_target=True).sum(dim=1)
    return divergence * (1.0 - clean.exp().gather(1, labels[:, None])[:, 0])
