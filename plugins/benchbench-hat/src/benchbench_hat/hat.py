"""Helper-based adversarial training (Rade and Moosavi-Dezfooli, ICLR 2022)."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.contract import (
    BatchLoss,
    KeyedGenerator,
    Threat,
    TrainingHost,
    diverging_images,
    normal_start,
    require,
)

START_DEVIATION = 0.001


class Standard:
    """The cross-entropy of clean images, which trains the helper network."""

    def loss(self, model: nn.Module, images: Tensor, labels: Tensor, **_: object) -> BatchLoss:
        """The summed cross-entropy of a batch."""
        logits = model(images)
        return BatchLoss(loss=F.cross_entropy(logits, labels, reduction="sum"), logits=logits.detach())


class Hat:
    """Sum of L(f(x), y) + beta KL(f(x) || f(x + r)) + gamma L(f(x + 2r), argmax f_std(x + r)).

    The helper network f_std is trained first, by the cross-entropy of clean images. r is TRADES' perturbation: steps up
    the divergence from x + 0.001 N(0, 1), with the model in evaluation mode. Helper examples x + 2r are not clipped.

    Args:
        beta: weight of the divergence, at least 0.
        gamma: weight of the loss of helper examples, at least 0.
        helper_scale: length of the step to a helper example over that of r, at least 1; the paper's 2.
        helper_epochs: epochs of the helper network, otherwise trained by the suite's recipe; None for as many.
        steps: steps of the inner maximisation, at least 1.
        step_ratio: step size over epsilon, above 0.
    """

    def __init__(
        self,
        *,
        beta: float = 2.5,
        gamma: float = 0.5,
        helper_scale: float = 2.0,
        helper_epochs: int | None = None,
        steps: int = 10,
        step_ratio: float = 0.25,
    ) -> None:
        checks = {"beta and gamma must be at least 0": min(beta, gamma) >= 0, "steps must be at least 1": steps >= 1}
        checks |= {"helper_scale must be at least 1": helper_scale >= 1, "step_ratio must be above 0": step_ratio > 0}
        require(checks | {"helper_epochs must be at least 1": helper_epochs is None or helper_epochs >= 1})
        self.beta, self.gamma, self.helper_scale, self.helper_epochs = beta, gamma, helper_scale, helper_epochs
        self.steps, self.step_ratio = steps, step_ratio

    def prepare(self, host: TrainingHost) -> None:
        """Train the helper network, or load it."""
        recipe = dataclasses.replace(host.recipe, epochs=self.helper_epochs or host.recipe.epochs)
        self._helper = host.train("helper network", Standard(), recipe)

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The three terms, summed over the batch; see `benchbench.contract.Defense`."""
        start = normal_start(images, deviation=START_DEVIATION, generator=generator)
        adversarial = diverging_images(
            model, images, start=start, threat=threat, steps=self.steps, step_ratio=self.step_ratio
        )
        with torch.no_grad():
            helper_labels = self._helper(adversarial).argmax(dim=1)
        logits, beyond = model(images), model(images + self.helper_scale * (adversarial - images))
        clean, perturbed = logits.log_softmax(dim=1), model(adversarial).log_softmax(dim=1)
        divergence = F.kl_div(perturbed, clean, reduction="sum", log_target=True)
        loss = F.cross_entropy(logits, labels, reduction="sum") + self.beta * divergence
        helped = F.cross_entropy(beyond, helper_labels, reduction="sum")
        return BatchLoss(loss=loss + self.gamma * helped, logits=logits.detach())
