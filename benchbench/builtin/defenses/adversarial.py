"""Adversarial training (AT) and labelled-data robust self-training (RST) on PGD's images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchbench.builtin.deferred import F, Tensor, nn
from benchbench.builtin.options import ascent_checks, at_least
from benchbench.builtin.regression.fitting import fit, solve_at, solve_rst
from benchbench.contract import BatchLoss, Examples, KeyedGenerator, Threat, adversarial_images, require


@dataclass(frozen=True, kw_only=True)
class AdversarialTraining:
    """Minimise sum L(f(x'), y), with x' found by PGD on L (Madry et al., 2018, equation 2.1).

    The inner loop sees the model in training mode: dropout and batch normalisation are active.

    Attributes:
        steps: steps of the inner maximisation, at least 1.
        step_ratio: step size over epsilon, above 0.
    """

    steps: int = 10
    step_ratio: float = 0.2

    recordable: ClassVar[bool] = True  # pure tensor code, apart from random draws
    smooths_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(ascent_checks(steps=self.steps, step_ratio=self.step_ratio))

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The summed cross-entropy at adversarial images; see `benchbench.contract.Defense`."""
        candidates = adversarial_images(
            model, images, labels, threat=threat, generator=generator, steps=self.steps, step_ratio=self.step_ratio
        )
        return BatchLoss(loss=F.cross_entropy(model(candidates), labels, reduction="sum"))

    def fit_regression(self, model: nn.Module, examples: Examples, *, threat: Threat) -> nn.Module:
        """The least sum of the largest squared errors over {x - epsilon, x, x + epsilon}, exactly."""
        return fit(model, examples, threat, solve_at)


@dataclass(frozen=True, kw_only=True)
class RobustSelfTraining:
    """Minimise sum L(f(x), y) + lam * sum L(f(x'), y), with x' as in adversarial training.

    Raghunathan et al., "Understanding and Mitigating the Tradeoff between Robustness and Accuracy", 2020, and Carmon et
    al., "Unlabeled Data Improves Adversarial Robustness", 2019, without their unlabelled data, as the protocol uses it.

    Attributes:
        lam: weight of the adversarial term (lambda), at least 0.
        steps: steps of the inner maximisation, at least 1.
        step_ratio: step size over epsilon, above 0.
    """

    lam: float = 1.0
    steps: int = 10
    step_ratio: float = 0.2

    recordable: ClassVar[bool] = True  # pure tensor code, apart from random draws
    smooths_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(at_least(0, lam=self.lam) | ascent_checks(steps=self.steps, step_ratio=self.step_ratio))

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The summed clean and adversarial cross-entropy; see `benchbench.contract.Defense`."""
        candidates = adversarial_images(
            model, images, labels, threat=threat, generator=generator, steps=self.steps, step_ratio=self.step_ratio
        )
        # Two passes: one pass over both halves would change the statistics of batch normalisation.
        logits = model(images)
        clean = F.cross_entropy(logits, labels, reduction="sum")
        adversarial = F.cross_entropy(model(candidates), labels, reduction="sum")
        return BatchLoss(loss=clean + self.lam * adversarial, logits=logits.detach())

    def fit_regression(self, model: nn.Module, examples: Examples, *, threat: Threat) -> nn.Module:
        """Squared errors plus lam times the largest over {x - epsilon, x, x + epsilon}, exactly."""
        return fit(model, examples, threat, lambda problem: solve_rst(problem, self.lam))
