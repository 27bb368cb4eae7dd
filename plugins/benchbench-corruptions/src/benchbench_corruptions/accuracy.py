"""Accuracy under common corruptions (Hendrycks & Dietterich, ICLR 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from benchbench.contract import Evidence, KeyedGenerator, Measurement, OptionError
from benchbench_corruptions.severities import CORRUPTIONS, SEVERITIES, Scale, corrupt


class CorruptionAccuracy:
    """Share of corrupted test images classified correctly: mean over corruptions and severities.

    Columns: ``corruption_test_accuracy``, and for each corruption its mean over the severities, for instance
    ``gaussian_noise_test_accuracy``; per example ``corruption_correct``, the share of its corrupted versions that is
    classified correctly. All are fractions in [0, 1].

    Args:
        corruptions: which; empty for all fifteen.
        severities: which of 1 to 5.
        scale: strengths of CIFAR-10-C (``"small"``) or of ImageNet-C (``"large"``).

    Raises:
        OptionError: for an unknown corruption or severity, or one that is named twice.
    """

    def __init__(
        self, *, corruptions: tuple[str, ...] = (), severities: tuple[int, ...] = SEVERITIES, scale: Scale = "small"
    ) -> None:
        names = corruptions or tuple(CORRUPTIONS)
        unknown = [name for name in names if name not in CORRUPTIONS]
        if unknown or len(set(names)) < len(names):
            raise OptionError(
                f"corruptions must be known and named once, got {names}", hint=f"known: {', '.join(CORRUPTIONS)}"
            )
        if not severities or not set(severities) <= set(SEVERITIES) or len(set(severities)) < len(severities):
            raise OptionError(f"severities must be different ones of {SEVERITIES}, got {severities}")
        if scale not in ("small", "large"):
            raise OptionError(f"scale must be 'small' or 'large', got {scale!r}")
        self.corruptions = names
        self.severities = severities
        self.scale: Scale = scale

    def measure(self, evidence: Evidence) -> Measurement:
        """Measure it; see `benchbench.contract.Metric`."""
        with torch.no_grad():
            batches = [
                self._correct(evidence, images, labels, generator)
                for images, labels, generator in evidence.batches("test", "corruptions")
            ]
        correct = torch.cat(batches, dim=2).double().cpu()  # (corruptions, severities, N)
        values = {"corruption_test_accuracy": float(correct.mean())}
        values |= {f"{name}_test_accuracy": float(part.mean()) for name, part in zip(self.corruptions, correct)}
        return Measurement(values=values, per_example={"corruption_correct": correct.mean(dim=(0, 1))})

    def _correct(self, evidence: Evidence, images: Tensor, labels: Tensor, generator: KeyedGenerator) -> Tensor:
        """bool (corruptions, severities, N)."""
        if images.dim() != 4 or images.shape[1] not in (1, 3):
            raise OptionError(
                f"corruption-accuracy needs grey or colour images, got inputs of shape {images.shape[1:]}"
            )

        def answer(name: str, severity: int) -> Tensor:
            corrupted = corrupt(images, name, severity, self.scale, generator)
            right: Tensor = evidence.model(corrupted).argmax(dim=1) == labels
            return right

        return torch.stack(
            [torch.stack([answer(name, severity) for severity in self.severities]) for name in self.corruptions]
        )
