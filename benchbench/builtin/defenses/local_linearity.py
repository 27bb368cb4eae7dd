"""LLR: regularise how far the loss is from linear in the ball around an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.builtin.ascent import ascend
from benchbench.builtin.defenses.options import Variant, inner_checks, require, variant_check
from benchbench.builtin.defenses.regression import RegressionProblem, fit
from benchbench.builtin.defenses.regression_llr import solve_llr
from benchbench.contract import BatchLoss, Examples, KeyedGenerator, OptionError, Threat, frozen

STARTS, FEW_STARTS = 4, 2  # of a regression's search
MANY_EXAMPLES = 1000  # above which a descent of that search takes ten seconds
START_DEVIATION = 0.001  # of the normal noise at the start: the deviation from linear is 0 at the image itself


@dataclass(frozen=True, kw_only=True)
class LocalLinearity:
    """Minimise sum L(f(x), y) + lam * sum g(x, delta) + mu * sum |delta . grad_x L(f(x), y)|.

    g(x, delta) = |L(f(x + delta), y) - L(f(x), y) - delta . grad_x L(f(x), y)|, per example, and delta maximises it in the
    ball: Qin et al., "Adversarial Robustness through Local Linearization", 2019. The linear terms
    pass gradients to the parameters through grad_x L (a second derivative); delta is a constant.

    Attributes:
        lam: weight of the deviation from linear (lambda), at least 0.
        mu: weight of the linear term, at least 0.
        steps: steps of the inner maximisation, at least 1.
        step_ratio: step size over epsilon, above 0; steps follow the gradient over its L2 norm, in every threat.
        variant: ``"equation"``: as above. ``"released"``: what the paper's code minimises, sum L(f(x), y) + lam * sum
            L(f(x + delta), y), where delta ascends L: its stored input gradient is zero, so the linear terms vanish.

    Raises:
        OptionError: for an option out of range.
    """

    lam: float = 4.0
    mu: float = 3.0
    steps: int = 2
    step_ratio: float = 0.5
    variant: Variant = "equation"

    def __post_init__(self) -> None:
        checks = {
            f"lam must be at least 0, got {self.lam}": self.lam >= 0,
            f"mu must be at least 0, got {self.mu}": self.mu >= 0,
        }
        require(checks | inner_checks(steps=self.steps, step_ratio=self.step_ratio) | variant_check(self.variant))

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The summed loss of the variant.

        Args:
            model: maps float32 images to logits (N, classes), twice differentiable, in training mode.
            images: float32 (N, C, H, W) in the threat's box.
            labels: int64 (N,).
            threat: ball and box.
            generator: of the same N examples; draws the normal start.
        """
        start = threat.project(generator.normal_like(images).mul_(START_DEVIATION).add_(images), images)
        if self.variant == "released":
            return self._released_loss(model, images, labels, start, threat)
        return self._equation_loss(model, images, labels, start, threat)

    def fit_regression(self, model: nn.Module, examples: Examples, *, threat: Threat) -> nn.Module:
        """See `regression_llr`, where d is one of two points and needs no search. The paper's lam is 0.01, its mu 0.

        Raises:
            OptionError: for a mu other than 0: the last term is not part of the paper's regression.
        """
        if self.mu != 0:
            raise OptionError(f"llr: mu must be 0 for a regression, got {self.mu}", hint="set mu = 0.0 in the suite")

        def solve(problem: RegressionProblem) -> NDArray[np.float64]:
            starts = FEW_STARTS if len(problem.targets) > MANY_EXAMPLES else STARTS
            return solve_llr(problem, lam=self.lam, variant=self.variant, starts=starts)

        return fit(model, examples, threat=threat, solve=solve)

    def _equation_loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, start: Tensor, threat: Threat
    ) -> BatchLoss:
        inputs = images.detach().requires_grad_(True)
        logits = model(inputs)
        clean = F.cross_entropy(logits, labels, reduction="none")
        (gradient,) = torch.autograd.grad(clean.sum(), inputs, create_graph=True)
        constant_clean, constant_gradient = clean.detach(), gradient.detach()

        def deviation(candidates: Tensor) -> Tensor:
            value = F.cross_entropy(model(candidates), labels, reduction="none")
            return (value - constant_clean - _dot(candidates - images, constant_gradient)).abs().sum()

        candidates = self._ascend(model, deviation, start, images, threat)
        linear = _dot(candidates - images, gradient)
        beyond_linear = F.cross_entropy(model(candidates), labels, reduction="none") - clean - linear
        loss = clean.sum() + self.lam * beyond_linear.abs().sum() + self.mu * linear.abs().sum()
        return BatchLoss(loss=loss, logits=logits.detach())

    def _released_loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, start: Tensor, threat: Threat
    ) -> BatchLoss:
        def cross_entropy(candidates: Tensor) -> Tensor:
            return F.cross_entropy(model(candidates), labels, reduction="sum")

        candidates = self._ascend(model, cross_entropy, start, images, threat)
        logits = model(images)
        clean = F.cross_entropy(logits, labels, reduction="sum")
        return BatchLoss(loss=clean + self.lam * cross_entropy(candidates), logits=logits.detach())

    def _ascend(
        self, model: nn.Module, objective: Callable[[Tensor], Tensor], start: Tensor, images: Tensor, threat: Threat
    ) -> Tensor:
        with frozen(model):
            return ascend(
                objective,
                start,
                images,
                threat=threat,
                steps=self.steps,
                step_size=self.step_ratio * threat.epsilon,
                step_norm="l2",
            )


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Inner product per example, float (N,)."""
    return (left * right).flatten(1).sum(dim=1)
