"""Misclassification-aware adversarial training (Wang et al., ICLR 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.contract import BatchLoss, KeyedGenerator, OptionError, Threat, in_mode

_SMALLEST = 1e-12  # keeps the logarithm of a vanishing probability finite


class Mart:
    """Boosted cross-entropy on adversarial images plus a KL term that weighs misclassified examples more.

    Args:
        lam: weight of the KL term, lambda in the paper, at least 0; 6 is the default of the authors' released loss.
        steps: sign steps of the inner maximisation, at least 1.
        step_size: size of a step as a fraction of epsilon; the authors' 0.007 for epsilon 0.031 is about 1/4.

    Raises:
        OptionError: for an option out of range.
    """

    def __init__(self, *, lam: float = 6.0, steps: int = 10, step_size: float = 0.25) -> None:
        if lam < 0 or steps < 1 or step_size <= 0:
            raise OptionError(f"mart needs lam >= 0, steps >= 1, step_size > 0; got {lam}, {steps}, {step_size}")
        self.lam = lam
        self.steps = steps
        self.step_size = step_size

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The sum over the batch of BCE(f(x'), y) + lam * KL(p(x) || p(x')) * (1 - p_y(x))."""
        with in_mode(model, training=False):
            adversarial = self._maximise(model, images, labels, threat, generator)
        clean_logits, adversarial_logits = model(images), model(adversarial)
        loss = boosted_cross_entropy(adversarial_logits, labels) + self.lam * weighted_divergence(
            clean_logits, adversarial_logits, labels
        )
        return BatchLoss(loss=loss.sum(), logits=clean_logits)

    def _maximise(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """PGD on the cross-entropy from x + 0.001 N(0, 1), in evaluation mode, as the authors released it."""
        candidates = images + 0.001 * generator.normal_like(images)  # not clipped to the box
        for _ in range(self.steps):
            leaf = candidates.detach().requires_grad_(True)
            rising = F.cross_entropy(model(leaf), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(rising, leaf)
            candidates = threat.project(candidates + self.step_size * threat.epsilon * gradient.sign(), images)
        return candidates


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
