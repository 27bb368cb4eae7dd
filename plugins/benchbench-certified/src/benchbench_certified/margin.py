"""Lipschitz-margin training, of a network whose Lipschitz constant is known."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.contract import BatchLoss, KeyedGenerator, Threat, require
from benchbench_certified.lipschitz import length_in_l2


class LipschitzMargin:
    """Minimise the cross-entropy of logits, all but the label's raised by sqrt(2) c L.

    Tsuzuku, Sato, Sugiyama, "Lipschitz-Margin Training: Scalable Certification of Perturbation Invariance for Deep Neural
    Networks", 2018. c is `radius_ratio` times the L2 length of the longest perturbation in the ball. L is the `scale` of the
    network, the Lipschitz constant of `lipschitz-mlp`: where the label still wins with a ratio of 1, the ball is certified. Of
    networks with another constant it proves nothing.

    Args:
        radius_ratio: radius of the training over the one to certify, above 0.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(self, *, radius_ratio: float = 1.0) -> None:
        require({f"radius_ratio must be above 0, got {radius_ratio}": radius_ratio > 0})
        self.radius_ratio = radius_ratio

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The summed loss of a batch; see `benchbench.contract.Defense`."""
        logits, reach = model(images), self.radius_ratio * length_in_l2(threat, images[0].numel())
        margin = math.sqrt(2) * reach * getattr(model, "scale", 1.0)
        handicap = margin * (1.0 - F.one_hot(labels, logits.shape[1]))
        loss = F.cross_entropy(logits + handicap, labels, reduction="sum")
        return BatchLoss(loss=loss, logits=logits.detach())
