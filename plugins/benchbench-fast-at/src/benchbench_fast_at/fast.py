"""One sign step from a random start: as an attack, and as the inner maximisation of adversarial training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.contract import BatchLoss, KeyedGenerator, OptionError, Threat, frozen

STEP_RATIO = 1.25  # the paper's alpha over epsilon


class FastAdversarialTraining:
    """Minimise the summed L(f(x + d), y), d one sign step from a uniform start in the ball (algorithm 3).

    The step sees the model as it comes, in training mode.

    Args:
        step_ratio: step size over epsilon, above 0. Beyond 2 the start no longer matters; much above the paper's 1.25
            training tends to overfit to one step ("catastrophic overfitting").

    Raises:
        OptionError: for an option out of range.
    """

    def __init__(self, *, step_ratio: float = STEP_RATIO) -> None:
        _require(step_ratio)
        self.step_ratio = step_ratio

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The summed cross-entropy at the stepped images."""
        candidates = step_from_random_start(model, images, labels, threat, generator, self.step_ratio)
        return BatchLoss(loss=F.cross_entropy(model(candidates), labels, reduction="sum"))


class RandomStartFgsm:
    """The same step as an attack.

    Args:
        step_ratio: step size over epsilon, above 0.

    Raises:
        OptionError: for an option out of range.
    """

    def __init__(self, *, step_ratio: float = STEP_RATIO) -> None:
        _require(step_ratio)
        self.step_ratio = step_ratio

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """One candidate per image; see `benchbench.contract.Attack`."""
        return step_from_random_start(model, images, labels, threat, generator, self.step_ratio)


def step_from_random_start(
    model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, generator: KeyedGenerator, step_ratio: float
) -> Tensor:
    """Project x + d + step_ratio * epsilon * sign(gradient at x + d), with d uniform in the ball.

    Returns:
        float (N, ...), detached, inside ball and box.
    """
    noise = generator.uniform_like(images, low=-threat.epsilon, high=threat.epsilon)
    leaf = threat.project(images + noise, images).requires_grad_(True)
    with frozen(model):
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(leaf), labels, reduction="sum"), leaf)
    return threat.project(leaf.detach() + step_ratio * threat.epsilon * gradient.sign(), images)


def _require(step_ratio: float) -> None:
    if step_ratio <= 0:
        raise OptionError(f"step_ratio must be above 0, got {step_ratio}")
