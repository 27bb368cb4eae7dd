"""The columns of a leaderboard that a metric may fill, and the check of its values.

A metric's offer declares its columns in ``Capabilities.fills``. Each value must agree with what the host knows (which examples
are predicted correctly, which withstand the attack, what the model predicts) or, for a mean, with the metric's own per-example
column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Literal

from benchbench.contract.data import SplitName
from benchbench.contract.evaluation import AnyEvidence, Evidence, Measurement, RegressionEvidence

_TOLERANCE = 1e-6  # relative: sums in another order
_AT_LEAST = 1e-9
# of a metric's own per-example column
_MEANS = {
    "test_lipschitz": "lipschitz",
    "test_lipschitz_best": "lipschitz_best",
    "test_lipschitz_upper": "lipschitz_upper",
    "certified_test_accuracy": "certified",
}

Outcome = Literal["correct", "robust"]
OF_HOST = frozenset({"index", "label", "prediction", "correct", "adversarial_prediction", "robust"})
"""Per-example columns that the host fills."""


def _share(evidence: AnyEvidence, outcome: Outcome, split: SplitName) -> float | None:
    if not isinstance(evidence, Evidence):
        return None
    hits = evidence.correct(split) if outcome == "correct" else evidence.robust(split)
    return float(hits.double().mean())


def _gap(evidence: AnyEvidence, outcome: Outcome) -> float | None:
    """Training minus test accuracy; for regression, test minus training error."""
    attacked = outcome == "robust"
    more, less = _error(evidence, "test", attacked=attacked), _error(evidence, "train", attacked=attacked)
    if more is None or less is None:
        more, less = _share(evidence, outcome, "train"), _share(evidence, outcome, "test")
    return None if more is None or less is None else more - less


def _mean(column: str, answer: Measurement, _evidence: AnyEvidence) -> float | None:
    import torch

    values = answer.per_example.get(column)
    return None if values is None else float(torch.as_tensor(values).double().mean())


def _error(evidence: AnyEvidence, split: SplitName, *, attacked: bool) -> float | None:
    import torch

    if not isinstance(evidence, RegressionEvidence):
        return None
    examples = evidence.examples(split)
    with torch.no_grad():
        inputs = evidence.candidates(split) if attacked else examples.inputs
        return float((evidence.model(inputs) - examples.labels).square().double().mean())


FILLABLE: Mapping[str, Callable[[Measurement, AnyEvidence], float | None]] = {
    "train_accuracy": lambda _, evidence: _share(evidence, "correct", "train"),
    "test_accuracy": lambda _, evidence: _share(evidence, "correct", "test"),
    "adv_train_accuracy": lambda _, evidence: _share(evidence, "robust", "train"),
    "adv_test_accuracy": lambda _, evidence: _share(evidence, "robust", "test"),
    "gap": lambda _, evidence: _gap(evidence, "correct"),
    "adv_gap": lambda _, evidence: _gap(evidence, "robust"),
    **{name: partial(_mean, column) for name, column in _MEANS.items()},
    "train_mse": lambda _, evidence: _error(evidence, "train", attacked=False),
    "test_mse": lambda _, evidence: _error(evidence, "test", attacked=False),
    "adv_test_mse": lambda _, evidence: _error(evidence, "test", attacked=True),
}
"""The expected value of a column; None without the per-example column, or for another task."""

PER_EXAMPLE: Mapping[str, str] = {
    **{column: name for name, column in _MEANS.items()},
    "squared_error": "test_mse",
    "adv_squared_error": "adv_test_mse",
}
"""Per-example columns whose mean is a column of the leaderboard, and that column."""


def column_problems(
    answer: Measurement, evidence: AnyEvidence, *, fills: Collection[str], reserved: Collection[str] = ()
) -> list[str]:
    """List what is wrong with the columns that a metric fills, one line each.

    `fills` are the columns of the leaderboard that it declares, `reserved` further ones that no metric fills.
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


def _disagreement(name: str, answer: Measurement, evidence: AnyEvidence) -> str:
    value, expected = answer.values[name], FILLABLE[name](answer, evidence)
    if expected is None and name in _MEANS:
        return f"{name} comes without the per-example column {_MEANS[name]!r} that it is the mean of"
    if expected is None:
        return f"{name} is of another task than the data"
    if not math.isclose(value, expected, rel_tol=_TOLERANCE, abs_tol=_AT_LEAST):
        return f"{name} is {value:.6g}, but the examples give {expected:.6g}"
    if value < 0 and not name.endswith("gap"):
        return f"{name} is {value:.6g}, expected at least 0"
    return ""
