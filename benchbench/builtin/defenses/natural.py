"""Natural training: the cross-entropy of clean images, the baseline of every comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.builtin.defenses.regression import fit, solve_natural
from benchbench.contract import BatchLoss, Examples, KeyedGenerator, Threat


@dataclass(frozen=True, kw_only=True)
class Natural:
    """Minimise sum L(f(x), y), with L the cross-entropy."""

    recordable: ClassVar[bool] = True  # all that the loss does is done by kernels, draws aside

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The summed cross-entropy of a batch; threat and generator are not used.

        Args:
            model: maps float32 images to logits (N, classes).
            images: float32 (N, C, H, W).
            labels: int64 (N,).
            threat: ball and box.
            generator: of the same N examples.
        """
        logits = model(images)
        return BatchLoss(loss=F.cross_entropy(logits, labels, reduction="sum"), logits=logits.detach())

    def fit_regression(self, model: nn.Module, examples: Examples, *, threat: Threat) -> nn.Module:
        """Least squares with the model's ridge, in closed form."""
        return fit(model, examples, threat=threat, solve=solve_natural)
