"""Calling metrics, which are plugins, and checking their answers."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from benchbench.contract import ExamplewiseMetric, Measurement
from benchbench.contract.columns import column_problems
from benchbench.contract.evaluation import AnyEvidence
from benchbench.errors import ContractError
from benchbench.evaluation.evidence import ModelEvidence
from benchbench.evaluation.lending import Loan
from benchbench.evaluation.memory import Memory, ShardResult, by_shard

_VALUE, _PER_EXAMPLE, _NOTE = "value/", "example/", "note"
EvidenceT = TypeVar("EvidenceT", bound=AnyEvidence)
_EvidenceT_contra = TypeVar("_EvidenceT_contra", bound=AnyEvidence, contravariant=True)


class MetricOf(Protocol[_EvidenceT_contra]):
    """A `Metric` or a `RegressionMetric`, by the evidence that it takes."""

    def measure(self, evidence: _EvidenceT_contra, /) -> Measurement:
        """See `Metric.measure`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of the leaderboard that metrics may fill."""

    fills: Mapping[str, Collection[str]]  # by metric, the columns that its offer declares
    reserved: Collection[str] = ()  # columns that no metric may fill


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What all metrics found."""

    values: Mapping[str, float]
    per_example: Mapping[str, Tensor]
    notes: Mapping[str, str]  # by metric, where it has one
    metrics: Mapping[str, str]  # per-example column to the metric that filled it


def measure_all(
    metrics: Mapping[str, MetricOf[EvidenceT]], evidence: EvidenceT, memory: Memory, loan: Loan, columns: Columns | None
) -> Measured:
    """Call each metric once and join the answers.

    `columns` are those of the leaderboard that they may fill; None if no row is recorded. It is a ContractError if a metric
    changes what it was lent, or returns no `Measurement`, a value that is not finite, a per-example column of another length
    than the test set, a column that another metric filled with something else, or one of the leaderboard that it does not
    declare or that does not agree with the examples.
    """
    values: dict[str, float] = {}
    per_example: dict[str, Tensor] = {}
    notes, filled = dict[str, str](), dict[str, str]()
    for name, metric in metrics.items():
        compute = partial(_measure, name, metric, evidence, memory, loan)
        answer = _unpack(memory.recall(f"metric/{name}", compute))
        if columns is not None:
            declared = columns.fills.get(name, ())
            for problem in column_problems(answer, evidence, fills=declared, reserved=columns.reserved):
                raise ContractError(f"metric {name!r}: {problem}")
        for column in sorted(values.keys() & answer.values.keys()):
            if values[column] != answer.values[column]:
                raise ContractError(f"metric {name!r}: another metric gives a different value for {column!r}")
        for column in sorted(per_example.keys() & answer.per_example.keys()):
            raise ContractError(f"metric {name!r}: another metric fills the per-example column {column!r}, too")
        values.update(answer.values)
        per_example.update({column: torch.as_tensor(v) for column, v in answer.per_example.items()})
        filled.update(dict.fromkeys(answer.per_example, name))
        notes.update({name: answer.note} if answer.note else {})
    return Measured(values=values, per_example=per_example, notes=notes, metrics=filled)


def _measure(name: str, metric: MetricOf[EvidenceT], evidence: EvidenceT, memory: Memory, loan: Loan) -> ShardResult:
    if isinstance(metric, ExamplewiseMetric) and isinstance(evidence, ModelEvidence):
        answer = _measure_in_shards(name, metric, evidence, memory, loan)
    else:
        with loan.to(f"metric {name!r}"):
            answer = metric.measure(evidence)
    loan.inspect(f"metric {name!r}")
    return _pack(_checked(name, answer, evidence))


def _measure_in_shards(
    name: str, metric: ExamplewiseMetric, evidence: ModelEvidence, memory: Memory, loan: Loan
) -> Measurement:
    def measure(positions: Tensor) -> ShardResult:
        excerpt = evidence.excerpt(positions)
        with loan.to(f"metric {name!r}"):
            answer = metric.measure(excerpt)
        return _pack(_checked(name, answer, excerpt))

    trial = evidence.trial
    parts = by_shard(f"metric/{name}", trial.shards(trial.splits["test"]), measure)
    answers = [_unpack(part) for part in memory.gather(parts)]
    shared = set.intersection(*({*answer.per_example} for answer in answers))  # a part may lack what it cannot measure
    columns = {
        column: torch.cat([torch.as_tensor(answer.per_example[column]) for answer in answers]) for column in shared
    }
    note = ", ".join(sorted({answer.note for answer in answers} - {""}))
    return Measurement(values=metric.summarise(columns), per_example=columns, note=note)


def _checked(name: str, answer: object, evidence: AnyEvidence) -> Measurement:
    if not isinstance(answer, Measurement):
        raise ContractError(f"metric {name!r}: expected a Measurement, got {type(answer).__name__}")
    for column, value in answer.values.items():
        if not isinstance(value, numbers.Real):  # a plugin may not be type-checked
            kind = type(value).__name__
            raise ContractError(f"metric {name!r}: {column} is of type {kind}, expected a number of Python, as float()")
        if not math.isfinite(value):
            raise ContractError(f"metric {name!r}: {column} is {value}, expected a finite number")
    expected = len(evidence.examples("test"))
    for column, outcomes in answer.per_example.items():
        if len(outcomes) != expected:
            raise ContractError(f"metric {name!r}: {column} has {len(outcomes)} values for {expected} test examples")
    return answer


def _pack(answer: Measurement) -> ShardResult:
    values = {f"{_VALUE}{column}": torch.tensor(value, dtype=torch.float64) for column, value in answer.values.items()}
    columns = {column: torch.as_tensor(outcomes) for column, outcomes in answer.per_example.items()}
    per_example = {f"{_PER_EXAMPLE}{name}": column.detach().cpu().clone() for name, column in columns.items()}
    return {**values, **per_example, _NOTE: torch.tensor([*answer.note.encode()], dtype=torch.uint8)}


def _unpack(part: ShardResult) -> Measurement:
    return Measurement(
        values={key.removeprefix(_VALUE): float(v) for key, v in part.items() if key.startswith(_VALUE)},
        per_example={key.removeprefix(_PER_EXAMPLE): v for key, v in part.items() if key.startswith(_PER_EXAMPLE)},
        note=bytes(part[_NOTE].tolist()).decode() if _NOTE in part else "",
    )
