"""TRADES: trade accuracy for agreement between the predictions on an image and around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.builtin.ascent import CrossEntropy, ascend
from benchbench.builtin.defenses.options import inner_checks, require
from benchbench.builtin.defenses.regression import fit, solve_trades
from benchbench.contract import BatchLoss, Examples, KeyedGenerator, Threat, frozen, in_mode

START_DEVIATION = 0.001  # of the normal noise at the start: the divergence has gradient 0 at the image itself


@dataclass(frozen=True, kw_only=True)
class Trades:
    """Minimise sum L(f(x), y) + beta * sum max over x' of KL(softmax f(x) || softmax f(x')).

    Zhang et al., "Theoretically Principled Trade-off between Robustness and Accuracy", 2019, where beta is written
    1 / lambda. The inner loop sees the model in evaluation mode; both terms pass gradients in training mode.

    Attributes:
        beta: weight of the divergence, at least 0.
        steps: steps of the inner maximisation, at least 1.
        step_ratio: step size over epsilon, above 0.

    Raises:
        OptionError: for an option out of range.
    """

    beta: float = 6.0
    steps: int = 10
    step_ratio: float = 0.2

    recordable: ClassVar[bool] = True  # all that the loss does is done by kernels, draws aside

    def __post_init__(self) -> None:
        checks = {f"beta must be at least 0, got {self.beta}": self.beta >= 0}
        require(checks | inner_checks(steps=self.steps, step_ratio=self.step_ratio))

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The summed clean cross-entropy and beta times the summed divergence.

        Args:
            model: maps float32 images to logits (N, classes), in training mode.
            images: float32 (N, C, H, W) in the threat's box.
            labels: int64 (N,).
            threat: ball and box.
            generator: of the same N examples; draws the normal start.
        """
        candidates = self._diverging_images(model, images, threat=threat, generator=generator)
        logits = model(images)
        divergence = F.kl_div(
            F.log_softmax(model(candidates), dim=1), F.log_softmax(logits, dim=1), reduction="sum", log_target=True
        )
        clean = F.cross_entropy(logits, labels, reduction="sum")
        return BatchLoss(loss=clean + self.beta * divergence, logits=logits.detach())

    def fit_regression(self, model: nn.Module, examples: Examples, *, threat: Threat) -> nn.Module:
        """Clean squared errors plus beta times the largest (f(x') - f(x))^2 over x' = x - epsilon, x + epsilon."""
        return fit(model, examples, threat=threat, solve=lambda problem: solve_trades(problem, self.beta))

    def _diverging_images(
        self, model: nn.Module, images: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """Ascend the divergence; against fixed clean probabilities the cross-entropy has the same gradient, for less."""
        start = generator.normal_like(images).mul_(START_DEVIATION).add_(images)  # not clipped to the box
        with in_mode(model, training=False), frozen(model):
            with torch.no_grad():
                cross_entropy = CrossEntropy(F.softmax(model(images), dim=1))
            return ascend(
                lambda candidates: cross_entropy(model(candidates)),
                start,
                images,
                threat=threat,
                steps=self.steps,
                step_size=self.step_ratio * threat.epsilon,
            )
