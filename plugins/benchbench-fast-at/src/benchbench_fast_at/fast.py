"""One sign step from a random start: an attack, and the inner maximisation of training."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.contract import BatchLoss, KeyedGenerator, Threat, adversarial_images, require

STEP_RATIO = 1.25  # the paper's alpha over epsilon


class FastAdversarialTraining:
    """Minimise the summed L(f(x + d), y), d one sign step from a uniform start (algorithm 3).

    The start is in the ball; the step sees the model in training mode.

    Args:
        step_ratio: step size over epsilon, above 0. Beyond 2 the start no longer matters; much above the paper's 1.25
            training tends to overfit to one step ("catastrophic overfitting").

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(self, *, step_ratio: float = STEP_RATIO) -> None:
        require({f"step_ratio must be above 0, got {step_ratio}": step_ratio > 0})
        self.step_ratio = step_ratio

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The summed cross-entropy at the stepped images."""
        candidates = adversarial_images(
            model, images, labels, threat=threat, generator=generator, steps=1, step_ratio=self.step_ratio
        )
        return BatchLoss(loss=F.cross_entropy(model(candidates), labels, reduction="sum"))


class RandomStartFgsm:
    """The same step as an attack.

    Args:
        step_ratio: step size over epsilon, above 0.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(self, *, step_ratio: float = STEP_RATIO) -> None:
        require({f"step_ratio must be above 0, got {step_ratio}": step_ratio > 0})
        self.step_ratio = step_ratio

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """One candidate per image; see `benchbench.contract.Attack`."""
        return adversarial_images(
            model, images, labels, threat=threat, generator=generator, steps=1, step_ratio=self.step_ratio
        )
