"""The columns of a leaderboard that a metric may fill, if its offer declares so, and what a value must agree with.

``Capabilities.fills`` declares them. Each value is held against what the host knows itself: which examples are predicted
correctly, which withstand the attack, what the model predicts; a mean, against the metric's own per-example column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from benchbench.contract.evaluation import Measurement

_TOLERANCE = 1e-6  # relative: sums in another order
_AT_LEAST = 1e-9

Check = Callable[[Measurement, Any], float | None]
"""What a value must be, from the measurement and the evidence; None where its per-example column is missing."""

OF_HOST = frozenset({"index", "label", "prediction", "correct", "adversarial_prediction", "robust"})
"""Per-example columns that the host fills."""


def _share(kind: str, split: str) -> Check:
    def share(answer: Measurement, evidence: Any) -> float:
        hits = getattr(evidence, kind)(split)
        return float(hits.double().mean())

    return share


def _gap(kind: str, error: str) -> Check:
    """Training minus test accuracy; for regression, test minus training error."""

    def gap(answer: Measurement, evidence: Any) -> float:
        if hasattr(evidence, "candidates"):
            return _squared_error(error, "test")(answer, evidence) - _squared_error(error, "train")(answer, evidence)
        return _share(kind, "train")(answer, evidence) - _share(kind, "test")(answer, evidence)  # type: ignore[operator]

    return gap


def _mean_of(column: str) -> Check:
    def mean(answer: Measurement, evidence: Any) -> float | None:
        import torch

        values = answer.per_example.get(column)
        return None if values is None else float(torch.as_tensor(values).double().mean())

    return mean


def _squared_error(inputs: str, split: str) -> Callable[[Measurement, Any], float]:
    def error(answer: Measurement, evidence: Any) -> float:
        import torch

        examples = evidence.examples(split)
        with torch.no_grad():
            given = examples.inputs if inputs == "clean" else evidence.candidates(split)
            return float((evidence.model(given) - examples.labels).square().double().mean())

    return error


FILLABLE: Mapping[str, Check] = {
    "train_accuracy": _share("correct", "train"),
    "test_accuracy": _share("correct", "test"),
    "adv_train_accuracy": _share("robust", "train"),
    "adv_test_accuracy": _share("robust", "test"),
    "gap": _gap("correct", "clean"),
    "adv_gap": _gap("robust", "attacked"),
    "test_lipschitz": _mean_of("lipschitz"),
    "test_lipschitz_best": _mean_of("lipschitz_best"),
    "train_mse": _squared_error("clean", "train"),
    "test_mse": _squared_error("clean", "test"),
    "adv_test_mse": _squared_error("attacked", "test"),
}
"""What each column's value must be."""

PER_EXAMPLE: Mapping[str, str] = {
    "lipschitz": "test_lipschitz",
    "lipschitz_best": "test_lipschitz_best",
    "squared_error": "test_mse",
    "adv_squared_error": "adv_test_mse",
}
"""Per-example columns that belong to a column of the leaderboard, and that column."""


def column_problems(
    answer: Measurement, evidence: object, *, fills: Collection[str], reserved: Collection[str] = ()
) -> list[str]:
    """What is wrong with the columns that a metric fills, one line each.

    Args:
        answer: what it measured.
        evidence: what it was given.
        fills: columns of the leaderboard that it declares to fill.
        reserved: further columns of the leaderboard, which no metric fills.
    """
    taken = FILLABLE.keys() | {f"{column}_{end}" for column in FILLABLE for end in ("low", "high")} | {*reserved}
    problems = [
        f"it fills the column {name!r} of the leaderboard, "
        + ("which its offer does not declare: Capabilities(fills=...)" if name in FILLABLE else "which no metric fills")
        for name in sorted(answer.values.keys() & taken)
        if name not in FILLABLE or name not in fills
    ]
    for name in sorted(answer.per_example):
        if name in OF_HOST:
            problems.append(f"it fills the per-example column {name!r}, which is the host's")
        elif name in PER_EXAMPLE and PER_EXAMPLE[name] not in fills:
            problems.append(
                f"it fills the per-example column {name!r} of {PER_EXAMPLE[name]!r}, which its offer does not declare: "
                "Capabilities(fills=...)"
            )
    return problems or [
        problem
        for name in sorted(answer.values.keys() & FILLABLE.keys())
        if (problem := _disagreement(name, answer, evidence))
    ]


def _disagreement(name: str, answer: Measurement, evidence: object) -> str:
    value, expected = answer.values[name], FILLABLE[name](answer, evidence)
    if expected is None:
        (column,) = (column for column, mean in PER_EXAMPLE.items() if mean == name)
        return f"{name} comes without the per-example column {column!r} that it is the mean of"
    if not math.isclose(value, expected, rel_tol=_TOLERANCE, abs_tol=_AT_LEAST):
        return f"{name} is {value:.6g}, but the examples give {expected:.6g}"
    if value < 0 and not name.endswith("gap"):
        return f"{name} is {value:.6g}, expected at least 0"
    return ""
