"""TRADES: trade accuracy for agreement between the predictions on an image and around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchbench.builtin.deferred import F, Tensor, nn
from benchbench.builtin.options import ascent_checks, at_least
from benchbench.builtin.regression.fitting import fit, solve_trades
from benchbench.contract import BatchLoss, Examples, KeyedGenerator, Threat, diverging_images, require

START_DEVIATION = 0.001  # of the normal noise at the start: at the image itself the gradient of the divergence is 0


@dataclass(frozen=True, kw_only=True)
class Trades:
    """Minimise sum L(f(x), y) + beta * sum max over x' of KL(softmax f(x) || softmax f(x')).

    Zhang et al., "Theoretically Principled Trade-off between Robustness and Accuracy", 2019, who write beta as 1 / lambda.
    The inner loop sees the model in evaluation mode; both terms pass gradients in training mode.

    Attributes:
        beta: weight of the divergence, at least 0.
        steps: steps of the inner maximisation, at least 1.
        step_ratio: step size over epsilon, above 0.
    """

    beta: float = 6.0
    steps: int = 10
    step_ratio: float = 0.2

    recordable: ClassVar[bool] = True  # pure tensor code, apart from random draws
    smooths_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(at_least(0, beta=self.beta) | ascent_checks(steps=self.steps, step_ratio=self.step_ratio))

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """Clean cross-entropy plus beta times divergence, summed; see `benchbench.contract.Defense`."""
        # Not `normal_start`: in the noise's memory layout convolutions round as they did for the rows that exist.
        start = generator.normal_like(images).mul_(START_DEVIATION).add_(images)  # not clipped to the box
        candidates = diverging_images(
            model, images, start=start, threat=threat, steps=self.steps, step_ratio=self.step_ratio
        )
        logits = model(images)
        divergence = F.kl_div(
            F.log_softmax(model(candidates), dim=1), F.log_softmax(logits, dim=1), reduction="sum", log_target=True
        )
        clean = F.cross_entropy(logits, labels, reduction="sum")
        return BatchLoss(loss=clean + self.beta * divergence, logits=logits.detach())

    def fit_regression(self, model: nn.Module, examples: Examples, *, threat: Threat) -> nn.Module:
        """Squared errors plus beta times the largest (f(x +- epsilon) - f(x))^2, exactly."""
        return fit(model, examples, threat, lambda problem: solve_trades(problem, self.beta))
