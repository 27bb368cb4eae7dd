"""Accuracies in [0, 1] without and under the protocol's attack, and generalisation gaps."""

from __future__ import annotations

from dataclasses import dataclass

from benchbench.builtin.deferred import Tensor
from benchbench.contract import Evidence, Measurement


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Share of correct predictions: ``train_accuracy``, ``test_accuracy``."""

    def measure(self, evidence: Evidence) -> Measurement:
        """Measure it; see `benchbench.contract.Metric`."""
        return Measurement(
            values={
                "train_accuracy": _share(evidence.correct("train")),
                "test_accuracy": _share(evidence.correct("test")),
            }
        )


@dataclass(frozen=True, kw_only=True)
class AdversarialAccuracy:
    """Share correct without and under the attack: ``adv_train_accuracy``, ``adv_test_accuracy``."""

    def measure(self, evidence: Evidence) -> Measurement:
        """Measure it; see `benchbench.contract.Metric`."""
        return Measurement(
            values={
                "adv_train_accuracy": _share(evidence.robust("train")),
                "adv_test_accuracy": _share(evidence.robust("test")),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """Training minus test accuracy: ``gap``, and under attack ``adv_gap``, in [-1, 1]."""

    def measure(self, evidence: Evidence) -> Measurement:
        """Measure them; see `benchbench.contract.Metric`."""
        return Measurement(
            values={
                "gap": _share(evidence.correct("train")) - _share(evidence.correct("test")),
                "adv_gap": _share(evidence.robust("train")) - _share(evidence.robust("test")),
            }
        )


def _share(hits: Tensor) -> float:
    return int(hits.sum()) / hits.numel()
