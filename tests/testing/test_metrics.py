"""The metric checks pass a good metric and catch planted bugs."""

from __future__ import annotations

import pytest
import torch

from benchbench.contract import Evidence, Measurement
from benchbench.testing import ConformanceError, ToyEvidence, check_metric


class Confidence:
    """Mean probability of the true class on the test set."""

    def measure(self, evidence: Evidence) -> Measurement:
        columns = []
        for images, labels, _ in evidence.batches("test", "confidence"):
            columns.append(evidence.model(images).softmax(dim=1).gather(1, labels[:, None])[:, 0])
        column = torch.cat(columns)
        return Measurement(values={"test_confidence": float(column.mean())}, per_example={"confidence": column})


class Gives:
    def __init__(self, values: object, **per_example: object) -> None:
        self.measured = Measurement(values=values, per_example=per_example)

    def measure(self, evidence: Evidence) -> Measurement:
        return self.measured


class MeanOfBatchMeans:
    def measure(self, evidence: Evidence) -> Measurement:
        means = [float(images.mean()) for images, _, _ in evidence.batches("test", "mean")]
        return Measurement(values={"mean": sum(means) / len(means)})


class FlipsMode(Confidence):
    def measure(self, evidence: Evidence) -> Measurement:
        evidence.model.train()
        return super().measure(evidence)


def test_good_metric_passes() -> None:
    check_metric(Confidence())


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (Gives({}), "at least one"),
        (Gives({"test accuracy": 0.5}), "snake_case"),
        (Gives({"test_accuracy": float("nan")}), "finite floats"),
        (Gives({"test_accuracy": torch.tensor(0.5)}), "finite floats"),
        (Gives({"test_accuracy": 0.5}, confidence=[0.5]), "one per test example"),
        (MeanOfBatchMeans(), "whatever the batch size"),
        (FlipsMode(), "mode of the model's modules"),
        (object(), "a method `measure`"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:12],
)
def test_planted_bug_is_caught(metric: object, message: str) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_metric(metric)
    assert message in str(caught.value)


def test_toy_evidence_answers_exactly() -> None:
    evidence = ToyEvidence()
    test = evidence.examples("test")
    assert torch.equal(evidence.correct("test"), evidence.model(test.inputs).argmax(dim=1) == test.labels)
    assert evidence.robust("test").tolist() == [False] * 6 + [True]
    assert evidence.robust("train").tolist() == [False] * 8 + [True]
