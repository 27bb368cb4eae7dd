"""Natural training: the cross-entropy of clean images, the baseline of every comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchbench.builtin.deferred import F, Tensor, nn
from benchbench.builtin.regression.fitting import fit
from benchbench.builtin.regression.problem import solve_natural
from benchbench.contract import BatchLoss, Examples, KeyedGenerator, Threat


@dataclass(frozen=True, kw_only=True)
class Natural:
    """Minimise sum L(f(x), y), with L the cross-entropy."""

    recordable: ClassVar[bool] = True  # pure tensor code
    smooths_labels: ClassVar[bool] = True

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The summed cross-entropy of a batch; threat and generator are not used."""
        logits = model(images)
        return BatchLoss(loss=F.cross_entropy(logits, labels, reduction="sum"), logits=logits.detach())

    def fit_regression(self, model: nn.Module, examples: Examples, *, threat: Threat) -> nn.Module:
        """Least squares with the model's ridge, in closed form."""
        return fit(model, examples, threat, solve_natural)
