"""GR: regularise the norm of the loss's input gradient, measured by a finite difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchbench.builtin.deferred import F, Tensor, nn, torch
from benchbench.builtin.options import Variant, at_least, variant_check
from benchbench.builtin.regression.fitting import fit
from benchbench.builtin.regression.gradient import solve_gr
from benchbench.contract import BatchLoss, Examples, KeyedGenerator, Threat, require, steepest


@dataclass(frozen=True, kw_only=True)
class GradientRegularisation:
    """Minimise sum L(f(x), y) + beta * sum ((L(f(x + h d), y) - L(f(x), y)) / h)^2.

    d is the loss's input gradient at x over its L2 norm (0 where it is 0), taken as a constant; x + h d is not clipped.
    Finlay & Oberman, "Scaleable input gradient regularization for adversarial robustness", 2019.

    Attributes:
        beta: weight of the penalty, at least 0.
        h: length of the finite difference, above 0.
        variant: ``"equation"``: as above. ``"released"``: what the paper's code minimises, 2 * sum L + beta / 2 * sum
            (.)^2, because it accumulates the gradient of the cross-entropy twice.
    """

    beta: float = 1.0
    h: float = 1.0
    variant: Variant = "equation"

    recordable: ClassVar[bool] = True  # pure tensor code

    def __post_init__(self) -> None:
        require(
            at_least(0, beta=self.beta) | {f"h must be above 0, got {self.h}": self.h > 0} | variant_check(self.variant)
        )

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The summed cross-entropy and penalty; threat and generator are not used."""
        inputs = images.detach().requires_grad_(True)
        logits = model(inputs)
        clean = F.cross_entropy(logits, labels, reduction="none")
        (gradient,) = torch.autograd.grad(clean.sum(), inputs, retain_graph=True)
        ahead = F.cross_entropy(model(images + self.h * steepest(gradient, "l2")), labels, reduction="none")
        penalty = ((ahead - clean) / self.h).square().sum()
        if self.variant == "released":
            loss = 2.0 * clean.sum() + self.beta / 2.0 * penalty
        else:
            loss = clean.sum() + self.beta * penalty
        return BatchLoss(loss=loss, logits=logits.detach())

    def fit_regression(self, model: nn.Module, examples: Examples, *, threat: Threat) -> nn.Module:
        """Penalise the exact derivative, where h plays no part; the paper's beta is 1e-4."""
        return fit(model, examples, threat, lambda problem: solve_gr(problem, beta=self.beta, variant=self.variant))
