"""TRADES (Zhang et al., 2019) with averaged weights and early stopping."""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.contract import (
    BatchLoss,
    KeyedGenerator,
    Recipe,
    Threat,
    diverging_images,
    normal_start,
    require,
)

START_DEVIATION = 0.001


class TradesEma:
    """Sum of L(f(x), y) + beta KL(f(x) || f(x')); the recipe averages and selects weights.

    Args:
        beta: weight of the divergence, at least 0.
        decay: of the exponential moving average of the weights, in (0, 1).
        validation: share of the training examples that are held out, in (0, 1). Under PGD they choose the epoch.
        steps: steps of the inner maximisation, at least 1.
        step_ratio: step size over epsilon, above 0.
    """

    smooths_labels = True

    def __init__(
        self,
        *,
        beta: float = 6.0,
        decay: float = 0.995,
        validation: float = 0.02,
        steps: int = 10,
        step_ratio: float = 0.2,
    ) -> None:
        checks = {f"beta must be at least 0, got {beta}": beta >= 0}
        checks |= {f"decay must be in (0, 1), got {decay}": 0 < decay < 1}
        checks |= {f"validation must be in (0, 1), got {validation}": 0 < validation < 1}
        require(checks | {"steps must be at least 1": steps >= 1, "step_ratio must be above 0": step_ratio > 0})
        self.beta, self.decay, self.validation = beta, decay, validation
        self.steps, self.step_ratio = steps, step_ratio

    def adapt_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with averaging and selection; the rest stays."""
        return dataclasses.replace(
            recipe,
            weight_averaging="ema",
            ema_decay=self.decay,
            swa_start=0,
            checkpoint_selection="best-robust",
            validation=self.validation,
        )

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """Both terms, summed over the batch; see `benchbench.contract.Defense`."""
        start = normal_start(images, deviation=START_DEVIATION, generator=generator)
        candidates = diverging_images(
            model, images, start=start, threat=threat, steps=self.steps, step_ratio=self.step_ratio
        )
        logits = model(images)
        clean, perturbed = logits.log_softmax(dim=1), model(candidates).log_softmax(dim=1)
        divergence = F.kl_div(perturbed, clean, reduction="sum", log_target=True)
        loss = F.cross_entropy(logits, labels, reduction="sum")
        return BatchLoss(loss=loss + self.beta * divergence, logits=logits.detach())
