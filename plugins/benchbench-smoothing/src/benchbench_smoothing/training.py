"""Training with Gaussian noise (Cohen, Rosenfeld, Kolter, ICML 2019, section 3.3)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.contract import BatchLoss, KeyedGenerator, Threat, require


class GaussianNoise:
    """Minimise the summed L(f(x + sigma * N(0, I)), y), noise unclipped, as in the certificate.

    Args:
        sigma: standard deviation in pixels / 255, at least 0; that of the certificate.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(self, *, sigma: float = 0.25) -> None:
        require({f"sigma must be at least 0, got {sigma}": sigma >= 0})
        self.sigma = sigma

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The summed cross-entropy at the noisy images."""
        noisy = images + self.sigma * generator.normal_like(images)
        return BatchLoss(loss=F.cross_entropy(model(noisy), labels, reduction="sum"))
