"""The metric checks pass a good metric and catch planted bugs."""

from __future__ import annotations

import pytest
import torch

from benchbench.contract import Evidence, Measurement, Norm
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


class Summarised(Confidence):
    """Looks at each example by itself; the planted bugs below change one thing each."""

    def measure(self, evidence: Evidence) -> Measurement:
        columns = super().measure(evidence).per_example
        return Measurement(values={"test_confidence": float(columns["confidence"].mean())}, per_example=columns)

    def summarise(self, per_example):
        return {"test_confidence": float(per_example["confidence"].mean())}


class SummarisesSum(Summarised):
    def summarise(self, per_example):
        return {"test_confidence": float(per_example["confidence"].sum())}


class ForgetsValue(Summarised):
    def summarise(self, per_example):
        return {}


class AddsValue(Summarised):
    def summarise(self, per_example):
        return {**super().summarise(per_example), "test_doubt": 0.5}


class SummarisesTensor(Summarised):
    def summarise(self, per_example):
        return {"test_confidence": per_example["confidence"].mean()}


class SummarisesNothing(Summarised):
    def summarise(self, per_example):
        return None


class SpreadOfOneExample(Summarised):
    """The variance of a sample, which one example alone has not."""

    def measure(self, evidence: Evidence) -> Measurement:
        columns = super().measure(evidence).per_example
        values = {"spread": 0.0} if len(columns["confidence"]) < 2 else self.summarise(columns)
        return Measurement(values=values, per_example=columns)

    def summarise(self, per_example):
        column = per_example["confidence"]
        return {"spread": float((column - column.mean()).square().sum() / torch.tensor(len(column) - 1.0))}


class SortsColumn(Summarised):
    def summarise(self, per_example):
        column = per_example["confidence"]
        column.copy_(column.flip(0))
        return super().summarise(per_example)


class RanksExamples(Summarised):
    """What it says of an example depends on the others."""

    def measure(self, evidence: Evidence) -> Measurement:
        column = super().measure(evidence).per_example["confidence"]
        ranks = column.argsort().argsort().float()
        return Measurement(values={"test_confidence": float(ranks.mean())}, per_example={"confidence": ranks})


class Noisy(Confidence):
    """Good: every draw from the generator."""

    def measure(self, evidence: Evidence) -> Measurement:
        noise = torch.cat(
            [g.normal_like(images).flatten(1)[:, 0] for images, _, g in evidence.batches("test", "noise")]
        )
        return Measurement(values={"noise": float(noise.mean())}, per_example={"noise": noise})


class OwnGenerator(Confidence):
    """Draws from a generator of its own: no global state shows it."""

    def __init__(self) -> None:
        self.source = torch.Generator().manual_seed(0)

    def measure(self, evidence: Evidence) -> Measurement:
        return Measurement(values={"draw": float(torch.rand((), generator=self.source))})


class DrawsGlobally(Confidence):
    def measure(self, evidence: Evidence) -> Measurement:
        return Measurement(values={"draw": float(torch.rand(()))})


class ColumnOfBatchMeans(Confidence):
    def measure(self, evidence: Evidence) -> Measurement:
        means = [images.mean().repeat(len(images)) for images, _, _ in evidence.batches("test", "mean")]
        return Measurement(values={"one": 1.0}, per_example={"mean": torch.cat(means)})


class TwoClassesOnly(Confidence):
    def measure(self, evidence: Evidence) -> Measurement:
        test = evidence.examples("test")
        wrong = evidence.model(test.inputs).gather(1, (1 - test.labels)[:, None].clamp(min=0))
        margin = evidence.model(test.inputs)[:, 0] - wrong[:, 0] if bool((test.labels < 2).all()) else wrong[:, 0] / 0
        return Measurement(values={"margin": float(margin.mean())})


class LinfOnly(Confidence):
    def measure(self, evidence: Evidence) -> Measurement:
        return Measurement(values={"radius": {"linf": 1.0}.get(evidence.threat.norm, float("inf"))})


@pytest.mark.parametrize("metric", [Confidence(), Summarised(), Noisy()], ids=lambda metric: type(metric).__name__)
def test_good_metric_passes(metric: Confidence) -> None:
    check_metric(metric, norms=("linf", "l2", "l1"))


def test_norm_that_a_metric_does_not_claim_is_not_asked_for() -> None:
    check_metric(LinfOnly())
    with pytest.raises(ConformanceError, match="LinfOnly, l2"):
        check_metric(LinfOnly(), norms=("linf", "l2"))


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (Gives({}), "at least one"),
        (Gives({"test accuracy": 0.5}), "snake_case"),
        (Gives({"test_accuracy": float("nan")}), "finite floats"),
        (Gives({"test_accuracy": torch.tensor(0.5)}), "finite floats"),
        (Gives({"test_accuracy": 0.5}, confidence=[0.5]), "one per test example"),
        (Gives({"test_accuracy": 0.5}, confidence=torch.ones(7, 1)), "one per test example"),
        (MeanOfBatchMeans(), "the same for every batch size"),
        (FlipsMode(), "mode of the model's modules"),
        (OwnGenerator(), "equal generators give equal values"),
        (DrawsGlobally(), "source of randomness"),
        (ColumnOfBatchMeans(), "the same for every batch size"),
        (TwoClassesOnly(), "1000 classes"),
        (SummarisesSum(), "the values of measure"),
        (ForgetsValue(), "the values of measure"),
        (AddsValue(), "the values of measure"),
        (SummarisesTensor(), "finite floats"),
        (SummarisesNothing(), "names to floats"),
        (SpreadOfOneExample(), "summarise, of one example"),
        (SortsColumn(), "columns left as they were"),
        (RanksExamples(), "some examples at a time"),
        (object(), "a method `measure`"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:12],
)
def test_planted_bug_is_caught(metric: object, message: str) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_metric(metric)
    assert message in str(caught.value)


def test_toy_evidence_about_some_examples_is_that_about_all() -> None:
    whole, part = ToyEvidence(batch_size=7), ToyEvidence(rows=(4, 6))
    assert torch.equal(part.examples("test").inputs, whole.examples("test").inputs[[4, 6]])
    assert torch.equal(part.robust("test"), whole.robust("test")[[4, 6]])
    ((_, _, all_draws),) = whole.batches("test", "purpose")
    ((_, _, some_draws),) = part.batches("test", "purpose")
    assert torch.equal(some_draws.normal(3), all_draws.normal(3)[[4, 6]])


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_toy_evidence_of_many_classes_is_as_robust(norm: Norm) -> None:
    two, many = ToyEvidence(norm=norm), ToyEvidence(norm=norm, classes=1000)
    assert many.model(many.examples("test").inputs).shape == (7, 1000)
    assert torch.equal(two.robust("test"), many.robust("test"))
    assert set(many.examples("test").labels.tolist()) == {0, 999}


def test_toy_evidence_answers_exactly() -> None:
    evidence = ToyEvidence()
    test = evidence.examples("test")
    assert torch.equal(evidence.correct("test"), evidence.model(test.inputs).argmax(dim=1) == test.labels)
    assert evidence.robust("test").tolist() == [False] * 6 + [True]
    assert evidence.robust("train").tolist() == [False] * 8 + [True]
