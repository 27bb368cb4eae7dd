"""Checks for metrics, and evidence whose answers are exact."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from benchbench.contract import (
    Examples,
    ExamplewiseMetric,
    KeyedGenerator,
    Measurement,
    Metric,
    Norm,
    SplitName,
    Threat,
    derive_seed,
)
from benchbench.contract.columns import column_problems
from benchbench.testing.conformance import expect, expect_method, name_of, untouched
from benchbench.testing.toys import LinearToy, toy_attack_problem

_TEST_SIZE = 7
_BATCH_SIZES = (1, 3, _TEST_SIZE)
_PARTS = ((0, 1, 2, 3), (4, 5, 6))


class ToyEvidence:
    """Evidence about a linear model, with 9 training and 7 other test images, to test metrics.

    Args:
        batch_size: examples per batch of `batches`.
        norm: of the threat.
        classes: number of classes, at least 2.
        rows: positions of its test examples, in [0, 7); all by default.
    """

    def __init__(
        self,
        batch_size: int = 4,
        *,
        norm: Norm = "linf",
        classes: int = 2,
        rows: Sequence[int] = tuple(range(_TEST_SIZE)),
    ) -> None:
        problem = toy_attack_problem(norm, hardest=0.9, classes=classes)
        self.model: LinearToy = problem.model.requires_grad_(False)
        self.threat: Threat = problem.threat
        self._batch_size = batch_size
        self._rows = {"train": torch.arange(9), "test": torch.tensor(rows)}
        chosen = {"train": torch.arange(9), "test": torch.arange(2, 9)[self._rows["test"]]}
        self._splits = {
            split: Examples(inputs=problem.images[places], labels=problem.labels[places])
            for split, places in chosen.items()
        }

    def examples(self, split: SplitName) -> Examples:
        """The examples of a split."""
        return self._splits[split]

    def correct(self, split: SplitName) -> Tensor:
        """bool (N,): predicted correctly without perturbation."""
        examples = self.examples(split)
        return self.model.distance(examples.inputs, examples.labels, self.threat.norm) > 0

    def robust(self, split: SplitName) -> Tensor:
        """bool (N,): exactly the examples that no attack can change."""
        examples = self.examples(split)
        return self.model.robust(examples.inputs, examples.labels, self.threat)

    def batches(self, split: SplitName, purpose: str) -> Iterable[tuple[Tensor, Tensor, KeyedGenerator]]:
        """Batches of (images, labels, generator keyed by purpose and example)."""
        examples = self.examples(split)
        for positions in torch.split(torch.arange(len(examples)), self._batch_size):
            generator = KeyedGenerator(derive_seed("toy evidence", split, purpose), self._rows[split][positions])
            yield examples.inputs[positions], examples.labels[positions], generator


def check_metric(
    metric: Metric,
    *,
    norms: Iterable[Norm] = ("linf",),
    classes: Iterable[int] = (2, 1000),
    rounding: float = 1e-4,
    fills: Iterable[str] = (),
) -> None:
    """Check a metric; a `ConformanceError` tells the first broken promise.

    For each norm and number of classes: values are finite numbers under column names; per-example columns hold one value
    per test example; the model and the examples are unchanged; a second measurement gives exactly the same, and other batch
    sizes, also 1, give the same up to rounding. The result of an `ExamplewiseMetric` for an example does not depend on the
    others, and `summarise` computes the values of `measure` from the joined columns.

    Args:
        metric: the metric, options set.
        norms: the norms that it supports.
        classes: numbers of classes to try.
        fills: the columns of the leaderboard in ``Capabilities.fills`` of its offer. Values there must agree with the
            examples, and no other column may be filled.
        rounding: allowed relative difference between batch sizes, which change the last bits of a model's output. A metric
            that searches for tiny changes of these magnifies it.
    """
    expect_method(metric, Metric, "`measure`")
    counts, declared = tuple(classes), tuple(fills)
    for norm in norms:
        for count in counts:
            _check_one(metric, norm, count, rounding, declared)


def _check_one(metric: Metric, norm: Norm, classes: int, rounding: float, fills: Sequence[str]) -> None:
    name = f"{name_of(metric)}, {norm}, {classes} classes"
    evidence = ToyEvidence(norm=norm, classes=classes)
    train, test = evidence.examples("train"), evidence.examples("test")
    with untouched(metric, evidence.model, test.inputs, test.labels, train.inputs, train.labels):
        measured = metric.measure(evidence)
    _check_form(name, measured, len(test))
    problems = column_problems(measured, evidence, fills=fills)
    expect(not problems, f"{name}: columns of the leaderboard", expected="declared and true", got="; ".join(problems))
    again = metric.measure(ToyEvidence(norm=norm, classes=classes))
    drift = _differences(_all_of(measured), _all_of(again), rounding=0.0)
    expect(not drift, f"{name}: repeatability", expected="equal generators give equal values", got=drift)
    for size in _BATCH_SIZES:
        again = metric.measure(ToyEvidence(size, norm=norm, classes=classes))
        drift = _differences(_all_of(measured), _all_of(again), rounding=rounding)
        expect(not drift, f"{name}: batches of {size}", expected="the same for every batch size", got=drift)
    if isinstance(metric, ExamplewiseMetric):
        parts = [_columns(metric.measure(ToyEvidence(norm=norm, classes=classes, rows=rows))) for rows in _PARTS]
        _check_examples_alone(name, _columns(measured), parts, rounding)
        _check_summary(name, metric, measured)


def _check_form(name: str, measured: Measurement, examples: int) -> None:
    expect(isinstance(measured, Measurement), f"{name}: result", expected="Measurement", got=type(measured).__name__)
    expect(bool(measured.values), f"{name}: values", expected="at least one", got="none")
    _check_values(f"{name}: values", measured.values)
    shapes = {key: tuple(column.shape) for key, column in _columns(measured).items()}
    uneven = {key: shape for key, shape in shapes.items() if shape != (examples,)}
    expect(not uneven, f"{name}: per-example columns", expected=f"{examples} values, one per test example", got=uneven)


def _check_values(check: str, values: Mapping[str, float]) -> None:
    strange = {key: value for key, value in values.items() if not _is_column(key, value)}
    expect(not strange, check, expected="snake_case column names to finite floats", got=strange)


def _check_examples_alone(
    name: str, whole: Mapping[str, Tensor], parts: Sequence[Mapping[str, Tensor]], rounding: float
) -> None:
    """Compare with what processes that share the test set measure on their parts."""
    for key, column in whole.items():
        joined = torch.cat([part.get(key, column[:0]) for part in parts])
        expect(
            joined.shape == column.shape and torch.allclose(joined.double(), column.double(), rtol=rounding, atol=1e-6),
            f"{name}: column {key!r}, some examples at a time",
            expected=f"the same as among all: {column.tolist()}",
            got=joined.tolist(),
        )


def _check_summary(name: str, metric: ExamplewiseMetric, measured: Measurement) -> None:
    columns = _columns(measured)
    given = {key: column.clone() for key, column in columns.items()}
    values = metric.summarise(given)
    expect(isinstance(values, Mapping), f"{name}: summarise", expected="names to floats", got=type(values).__name__)
    _check_values(f"{name}: summarise", values)
    drift = _differences(measured.values, values) | _differences(values, measured.values)
    expect(not drift, f"{name}: summarise", expected="the values of measure, from its columns", got=drift)
    changed = [key for key, column in columns.items() if not torch.equal(column, given[key])]
    expect(not changed, f"{name}: summarise", expected="columns left as they were", got=f"changed: {changed}")
    _check_values(f"{name}: summarise, of one example", metric.summarise({k: c[:1] for k, c in columns.items()}))


def _columns(measured: Measurement) -> dict[str, Tensor]:
    return {key: torch.as_tensor(column).cpu() for key, column in measured.per_example.items()}


def _all_of(measured: Measurement) -> dict[str, float]:
    """All numbers of a measurement by name: its values, and its per-example columns' entries."""
    entries = {
        f"{key}[{place}]": float(value)
        for key, column in _columns(measured).items()
        for place, value in enumerate(column)
    }
    return {**measured.values, **entries}


def _differences(
    wanted: Mapping[str, float], found: Mapping[str, float], *, rounding: float = 1e-4
) -> dict[str, tuple[float, float | None]]:
    """The wanted and the found value of each name where they differ."""
    return {key: (value, found.get(key)) for key, value in wanted.items() if not _same(value, found.get(key), rounding)}


def _is_column(key: object, value: object) -> bool:
    named = isinstance(key, str) and key.isidentifier() and key == key.lower()
    return named and isinstance(value, float) and math.isfinite(value)


def _same(value: float, other: float | None, rounding: float) -> bool:
    if other is None or math.isnan(value) or math.isnan(other):
        return other is not None and math.isnan(value) and math.isnan(other)
    return math.isclose(value, other, rel_tol=rounding, abs_tol=1e-6) if rounding else value == other
