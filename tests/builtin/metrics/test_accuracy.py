"""Accuracies and gaps on evidence whose answers are known."""

from __future__ import annotations

import pytest

from benchbench.builtin.metrics.accuracy import Accuracy, AdversarialAccuracy, Gaps
from benchbench.contract import Metric
from benchbench.testing.conformance import ConformanceError
from benchbench.testing.metrics import ToyEvidence, check_metric


@pytest.mark.parametrize(
    ("metric", "fills"),
    [
        (Accuracy(), ("train_accuracy", "test_accuracy")),
        (AdversarialAccuracy(), ("adv_train_accuracy", "adv_test_accuracy")),
        (Gaps(), ("gap", "adv_gap")),
    ],
)
def test_metrics_keep_the_contract(metric: Metric, fills: tuple[str, ...]) -> None:
    check_metric(metric, fills=fills)
    with pytest.raises(ConformanceError, match="does not declare"):
        check_metric(metric)


def test_accuracies_are_fractions_of_correct_and_of_robust_examples() -> None:
    evidence = ToyEvidence()
    train, test = evidence.robust("train"), evidence.robust("test")
    assert Accuracy().measure(evidence).values == {"train_accuracy": 1.0, "test_accuracy": 1.0}
    assert AdversarialAccuracy().measure(evidence).values == {
        "adv_train_accuracy": int(train.sum()) / 9,
        "adv_test_accuracy": int(test.sum()) / 7,
    }
    assert 0 < int(train.sum()) < 9


def test_gaps_are_train_minus_test() -> None:
    evidence = ToyEvidence()
    adversarial = AdversarialAccuracy().measure(evidence).values
    assert Gaps().measure(evidence).values == {
        "gap": 0.0,
        "adv_gap": adversarial["adv_train_accuracy"] - adversarial["adv_test_accuracy"],
    }
