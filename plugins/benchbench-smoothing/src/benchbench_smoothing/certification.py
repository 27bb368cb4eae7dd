"""CERTIFY: lower bounds of smoothed robust radii (Cohen, Rosenfeld, Kolter, ICML 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy.stats import beta, norm
from torch import Tensor, nn

from benchbench.contract import Evidence, KeyedGenerator, Measurement, require

ABSTAIN = -1


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What CERTIFY returns for a batch.

    Attributes:
        prediction: int64 (N,), the class of the smoothed classifier, or -1 where it abstains.
        radius: float64 (N,), the L2 radius within which the prediction is constant, in pixels / 255; 0 where it abstains.
    """

    prediction: Tensor
    radius: Tensor


class CertifiedL2:
    """Accuracy of g(x), the likeliest class of f(x + sigma N(0, I)), certified at L2 radii.

    An example counts at radius r if g predicts its label without abstaining and its certified radius is at least r. Each
    certificate holds with probability at least 1 - alpha over the noise. Columns: for each radius, for instance,
    ``certified_test_accuracy_l2_0_5``; ``smoothed_test_accuracy`` (correct without abstaining), ``certified_test_radius_l2``
    (mean; 0 where wrong or abstained) and ``abstention_test_rate``; per example ``certified_radius_l2``,
    ``certified_prediction`` (-1: abstained) and ``certified_correct``. Processes may share the test set.

    Args:
        sigma: standard deviation of the noise in pixels / 255, above 0.
        n0: noisy copies to choose the class by, at least 1.
        n: noisy copies to bound its probability by, at least 1. No radius exceeds sigma * Phi^-1(alpha^(1/n)); the paper
            uses 100,000.
        alpha: probability that a certificate is wrong, in (0, 1).
        radii: L2 radii in pixels / 255, above 0.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(
        self,
        *,
        sigma: float = 0.25,
        n0: int = 100,
        n: int = 1000,
        alpha: float = 0.001,
        radii: tuple[float, ...] = (0.25, 0.5, 0.75),
    ) -> None:
        different = len(set(radii)) == len(radii)
        require(
            {
                f"sigma must be above 0, got {sigma}": sigma > 0,
                f"n0 and n must be at least 1, got {n0} and {n}": min(n0, n) >= 1,
                f"alpha must be in (0, 1), got {alpha}": 0 < alpha < 1,
                f"radii must be above 0 and different, got {radii}": different and min(radii, default=1) > 0,
            }
        )
        self.sigma = sigma
        self.n0 = n0
        self.n = n
        self.alpha = alpha
        self.radii = radii

    def measure(self, evidence: Evidence) -> Measurement:
        """Certify every test example; see `benchbench.contract.Metric`."""
        certificates, right = [], []
        for images, labels, generator in evidence.batches("test", "certified-l2"):
            certificate = self.certify(evidence.model, images, generator)
            certificates.append(certificate)
            right.append(certificate.prediction == labels.cpu())
        columns = {
            "certified_radius_l2": torch.cat([certificate.radius for certificate in certificates]),
            "certified_prediction": torch.cat([certificate.prediction for certificate in certificates]),
            "certified_correct": torch.cat(right),
        }
        return Measurement(values=self.summarise(columns), per_example=columns)

    def summarise(self, per_example: Mapping[str, Tensor]) -> dict[str, float]:
        """The values, from the columns of all examples; see `benchbench.contract.ExamplewiseMetric`."""
        correct, radius = per_example["certified_correct"].bool(), per_example["certified_radius_l2"]
        values = {
            "smoothed_test_accuracy": _mean(correct),
            "certified_test_radius_l2": _mean(radius * correct),
            "abstention_test_rate": _mean(per_example["certified_prediction"] == ABSTAIN),
        }
        return values | {column_name(at): _mean(correct & (radius >= at)) for at in self.radii}

    def certify(self, model: nn.Module, images: Tensor, generator: KeyedGenerator) -> Certificate:
        """Certify a batch; noise is keyed by example.

        Args:
            model: maps float32 images to logits, in evaluation mode.
            images: float32 (N, ...).
            generator: of the same N examples.
        """
        chosen = self._counts(model, images, generator.child("selection"), self.n0).argmax(dim=1)
        counts = self._counts(model, images, generator.child("estimation"), self.n)
        lower = lower_confidence_bound(counts.gather(1, chosen[:, None])[:, 0], self.n, self.alpha)
        certain = lower > 0.5
        radius = torch.from_numpy(self.sigma * norm.ppf(lower.numpy()))
        return Certificate(
            prediction=torch.where(certain, chosen, torch.full_like(chosen, ABSTAIN)),
            radius=torch.where(certain, radius, torch.zeros_like(radius)),
        )

    @torch.no_grad()
    def _counts(self, model: nn.Module, images: Tensor, generator: KeyedGenerator, copies: int) -> Tensor:
        """How often each class is predicted under noise, int64 (N, classes) on the CPU."""
        counts = torch.zeros(model(images).shape, dtype=torch.int64, device=images.device)
        for _ in range(copies):
            predicted = model(images + self.sigma * generator.normal_like(images)).argmax(dim=1, keepdim=True)
            counts.scatter_add_(1, predicted, torch.ones_like(predicted))
        return counts.cpu()


def lower_confidence_bound(successes: Tensor, trials: int, alpha: float) -> Tensor:
    """Clopper and Pearson's lower bound of a binomial proportion: Beta^-1(alpha; k, n - k + 1).

    Args:
        successes: int64 (N,), k, in [0, trials].
        trials: n, at least 1.
        alpha: in (0, 1); the bound is one-sided, with confidence 1 - alpha.

    Returns:
        float64 (N,); 0 where there is no success.
    """
    k = successes.double().numpy()
    bound = beta.ppf(alpha, k.clip(min=1.0), trials - k + 1.0)
    return torch.where(successes > 0, torch.from_numpy(bound), torch.zeros(len(successes), dtype=torch.float64))


def column_name(radius: float) -> str:
    """The column of the accuracy certified at a radius.

    >>> column_name(0.25)
    'certified_test_accuracy_l2_0_25'
    """
    return "certified_test_accuracy_l2_" + f"{radius:.10f}".rstrip("0").rstrip(".").replace(".", "_")


def _mean(column: Tensor) -> float:
    return float(column.double().mean())
