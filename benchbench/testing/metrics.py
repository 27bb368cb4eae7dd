"""Checks for metrics, and evidence whose every answer is exact."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from benchbench.contract import Examples, KeyedGenerator, Measurement, Metric, Threat, derive_seed
from benchbench.testing.conformance import expect, name_of, untouched
from benchbench.testing.toys import LinearToy, toy_attack_problem

Split = Literal["train", "test"]


class ToyEvidence:
    """Evidence about a linear model, for tests of metrics. Train and test hold different images.

    Args:
        batch_size: examples per batch of `batches`.
    """

    def __init__(self, batch_size: int = 4) -> None:
        problem = toy_attack_problem("linf", hardest=0.9)
        self.model: LinearToy = problem.model.requires_grad_(False)
        self.threat: Threat = problem.threat
        self._batch_size = batch_size
        chosen = {"train": torch.arange(0, 9), "test": torch.arange(2, 9)}
        self._splits = {
            split: Examples(inputs=problem.images[rows], labels=problem.labels[rows]) for split, rows in chosen.items()
        }

    def examples(self, split: Split) -> Examples:
        """The examples of a split."""
        return self._splits[split]

    def correct(self, split: Split) -> Tensor:
        """bool (N,): predicted correctly without perturbation."""
        examples = self.examples(split)
        return self.model.distance(examples.inputs, examples.labels, self.threat.norm) > 0

    def robust(self, split: Split) -> Tensor:
        """bool (N,): exactly which examples no attack can change."""
        examples = self.examples(split)
        return self.model.robust(examples.inputs, examples.labels, self.threat)

    def batches(self, split: Split, purpose: str) -> Iterable[tuple[Tensor, Tensor, KeyedGenerator]]:
        """Batches of (images, labels, generator keyed by purpose and example)."""
        examples = self.examples(split)
        for rows in torch.split(torch.arange(len(examples)), self._batch_size):
            generator = KeyedGenerator(derive_seed("toy evidence", split, purpose), rows)
            yield examples.inputs[rows], examples.labels[rows], generator


def check_metric(metric: Metric) -> None:
    """Check that a metric keeps its contract.

    Values are finite numbers under column names; per-example columns hold one value per test example; the model and the
    examples are left as they were; measuring again, in batches of another size, gives the same.

    Args:
        metric: the metric, options set.

    Raises:
        ConformanceError: what was expected and what came, for the first broken promise.
    """
    name = name_of(metric)
    expect(isinstance(metric, Metric), f"{name}: type", expected="an object with a method `measure`", got=type(metric))
    evidence = ToyEvidence()
    test = evidence.examples("test")
    with untouched(metric, evidence.model, test.inputs, test.labels):
        measured = metric.measure(evidence)
    expect(isinstance(measured, Measurement), f"{name}: result", expected="Measurement", got=type(measured).__name__)
    expect(bool(measured.values), f"{name}: values", expected="at least one", got="none")
    strange = {key: value for key, value in measured.values.items() if not _is_column(key, value)}
    expect(not strange, f"{name}: values", expected="snake_case column names to finite floats", got=strange)
    lengths = {key: len(column) for key, column in measured.per_example.items()}
    uneven = {key: length for key, length in lengths.items() if length != len(test)}
    expect(not uneven, f"{name}: per-example columns", expected=f"{len(test)} values, one per test example", got=uneven)
    again = metric.measure(ToyEvidence(batch_size=3)).values
    drift = {
        key: (value, again.get(key)) for key, value in measured.values.items() if not _close(value, again.get(key))
    }
    expect(not drift, f"{name}: repeatability", expected="the same whatever the batch size", got=drift)


def _is_column(key: object, value: object) -> bool:
    named = isinstance(key, str) and key.isidentifier() and key == key.lower()
    return named and isinstance(value, float) and math.isfinite(value)


def _close(value: float, other: float | None) -> bool:
    return other is not None and math.isclose(value, other, rel_tol=1e-4, abs_tol=1e-6)
