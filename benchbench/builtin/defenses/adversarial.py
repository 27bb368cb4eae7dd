"""Adversarial training (AT) and robust self-training on labelled data (RST): the loss at PGD's adversarial images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.builtin.ascent import CrossEntropy, ascend, uniform_start
from benchbench.builtin.defenses.options import inner_checks, require
from benchbench.builtin.defenses.regression import fit, solve_at, solve_rst
from benchbench.contract import BatchLoss, Examples, KeyedGenerator, Threat, frozen


@dataclass(frozen=True, kw_only=True)
class AdversarialTraining:
    """Minimise sum L(f(x'), y), with x' found by PGD on L (Madry et al., 2018, equation 2.1).

    The inner loop sees the model as it is handed over, in training mode: dropout and batch normalisation are active.

    Attributes:
        steps: steps of the inner maximisation, at least 1.
        step_ratio: step size over epsilon, above 0.

    Raises:
        OptionError: for an option out of range.
    """

    steps: int = 10
    step_ratio: float = 0.2

    recordable: ClassVar[bool] = True  # all that the loss does is done by kernels, draws aside

    def __post_init__(self) -> None:
        require(inner_checks(steps=self.steps, step_ratio=self.step_ratio))

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The summed cross-entropy at adversarial images.

        Args:
            model: maps float32 images to logits (N, classes), in training mode.
            images: float32 (N, C, H, W) in the threat's box.
            labels: int64 (N,).
            threat: ball and box.
            generator: of the same N examples; draws the uniform start.
        """
        candidates = adversarial_images(
            model, images, labels, threat=threat, generator=generator, steps=self.steps, step_ratio=self.step_ratio
        )
        return BatchLoss(loss=F.cross_entropy(model(candidates), labels, reduction="sum"))

    def fit_regression(self, model: nn.Module, examples: Examples, *, threat: Threat) -> nn.Module:
        """The least sum of largest squared errors over {x - epsilon, x, x + epsilon}, solved exactly."""
        return fit(model, examples, threat=threat, solve=solve_at)


@dataclass(frozen=True, kw_only=True)
class RobustSelfTraining:
    """Minimise sum L(f(x), y) + lam * sum L(f(x'), y), with x' as in adversarial training.

    Raghunathan et al., "Understanding and Mitigating the Tradeoff between Robustness and Accuracy", 2020, and Carmon et
    al., "Unlabeled Data Improves Adversarial Robustness", 2019, without their unlabelled data, as the protocol uses it.

    Attributes:
        lam: weight of the adversarial term (lambda), at least 0.
        steps: steps of the inner maximisation, at least 1.
        step_ratio: step size over epsilon, above 0.

    Raises:
        OptionError: for an option out of range.
    """

    lam: float = 1.0
    steps: int = 10
    step_ratio: float = 0.2

    recordable: ClassVar[bool] = True  # all that the loss does is done by kernels, draws aside

    def __post_init__(self) -> None:
        checks = {f"lam must be at least 0, got {self.lam}": self.lam >= 0}
        require(checks | inner_checks(steps=self.steps, step_ratio=self.step_ratio))

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The summed clean and adversarial cross-entropy; arguments as for `AdversarialTraining.loss`."""
        candidates = adversarial_images(
            model, images, labels, threat=threat, generator=generator, steps=self.steps, step_ratio=self.step_ratio
        )
        # Two passes, for one pass over both halves would change the statistics of batch normalisation.
        logits = model(images)
        clean = F.cross_entropy(logits, labels, reduction="sum")
        adversarial = F.cross_entropy(model(candidates), labels, reduction="sum")
        return BatchLoss(loss=clean + self.lam * adversarial, logits=logits.detach())

    def fit_regression(self, model: nn.Module, examples: Examples, *, threat: Threat) -> nn.Module:
        """Clean squared errors plus lam times the largest over {x - epsilon, x, x + epsilon}, solved exactly."""
        return fit(model, examples, threat=threat, solve=lambda problem: solve_rst(problem, self.lam))


def adversarial_images(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat: Threat,
    generator: KeyedGenerator,
    steps: int,
    step_ratio: float,
) -> Tensor:
    """Ascend the cross-entropy from a uniform start (PGD), with the model in the mode in which it comes.

    Args:
        model: maps float32 images to logits (N, classes).
        images: float32 (N, C, H, W) in the threat's box.
        labels: int64 (N,).
        threat: ball and box.
        generator: of the same N examples; draws the start.
        steps: number of steps.
        step_ratio: step size over epsilon.

    Returns:
        float32 (N, C, H, W) inside ball and box, without gradient.
    """
    start = uniform_start(images, threat=threat, generator=generator)
    cross_entropy = CrossEntropy(labels)
    with frozen(model):
        return ascend(
            lambda candidates: cross_entropy(model(candidates)),
            start,
            images,
            threat=threat,
            steps=steps,
            step_size=step_ratio * threat.epsilon,
        )
