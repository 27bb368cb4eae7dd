"""Compare a row with its outcomes, its model and its registered suite."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor, nn

from benchbench.cell.model import OWN_PROFILE, OWN_PROTOCOL, Cell, to_json
from benchbench.checking.evidence import ROUNDING, Finding, code_changes
from benchbench.contract import DatasetSplits
from benchbench.contract.columns import PER_EXAMPLE
from benchbench.data import crop_to, subset
from benchbench.errors import BenchbenchError
from benchbench.harness.cells import precision_of
from benchbench.kernels.inputs import as_model_input
from benchbench.leaderboard.extras import value_of
from benchbench.planning.planner import cells_like
from benchbench.records import Row
from benchbench.records.arrays import Array
from benchbench.records.building import accuracy_bounds, mean_bounds
from benchbench.registry import Registry
from benchbench.suite import Suite, read_suite

_CODE = {"distribution", "version", "revision", "sources"}  # of a component: `code_changes` names what differs
_close = functools.partial(math.isclose, rel_tol=1e-6, abs_tol=1e-9)
# older rows do not have the first; the others are missing where no bound is known
_MAY_BE_MISSING = {"test_lipschitz_best", "certified_test_accuracy", "test_lipschitz_upper"}
_AT_ONCE = 4096  # examples: bounds the memory of their floating-point copies
_MEANS = {  # column of the outcomes -> column of the row, or name in its column extra, that is its mean
    **{"correct": "test_accuracy", "robust": "adv_test_accuracy"},
    **{name: f"test_{name}" for name in ("lipschitz_released", "lipschitz_released_best")},
    **PER_EXAMPLE,
}
_BOUNDS = tuple(field.name for field in dataclasses.fields(Row) if field.name.endswith(("_low", "_high")))


def outcome_findings(row: Row, outcomes: Mapping[str, Array], needed: Collection[str]) -> list[Finding]:
    """Find numbers that contradict the outcomes, of the right form, or are `needed` and missing."""
    stated = {**row.extra, **vars(row)}
    n = len(outcomes["index"])
    whats = [f"the row has no {name}, which its metrics measure" for name in sorted(needed) if stated.get(name) is None]
    if n != row.n_test:
        whats.append(f"the row is of {row.n_test:,} test examples, its outcomes of {n:,}")
    for column, name in _MEANS.items():
        mean = float(np.mean(outcomes[column], dtype=np.float64)) if n and column in outcomes else math.nan
        if stated.get(name) is not None and not _close(stated[name], mean):
            gives = f"give {mean:.10g}" if column in outcomes else f"have no column {column!r}"
            whats.append(f"{name} is {stated[name]}, but the outcomes {gives}")
    whats += [*_interval_problems(row, outcomes), *_difference_problems(row)]
    return [*(Finding(what=what) for what in whats), *_inconsistent(outcomes)]


def needed_columns(cell: Cell, registry: Registry) -> set[str]:
    """The columns that built-in metrics fill; plugins may fill fewer than they declare."""
    found: set[str] = set()
    for metric in cell.evaluation.metrics:
        with suppress(BenchbenchError):  # of a plugin that is not installed here
            if registry.as_here(metric).distribution == "benchbench" and metric.options.get("variant") != "released":
                found.update(registry.capabilities(metric).fills)
    return found - _MAY_BE_MISSING


def model_findings(
    row: Row, cell: Cell, model: nn.Module, splits: DatasetSplits, predict: Callable[[Tensor], Array]
) -> Iterator[Finding]:
    """Find columns that contradict the model, whose training examples are passed to `predict`."""
    if row.precision != (expected := precision_of(model, cell)):
        yield Finding(what=f"precision is {row.precision!r}, but model and configuration say {expected!r}")
    regression = splits.task == "regression"
    if regression == (row.test_mse is None):
        yield Finding(what=f"the row is of another task than the data, {splits.task}")
    name, tied = "train_mse" if regression else "train_accuracy", 0.0
    if (stated := getattr(row, name)) is None:
        return
    chosen = subset(crop_to(splits.train, splits.input_shape), cell.evaluation.n_train_evaluated, "train").examples
    parts = torch.split(chosen.inputs, _AT_ONCE)
    answers = np.concatenate([predict(part.double() if regression else as_model_input(part)) for part in parts])
    label = chosen.labels.numpy()
    found = float(np.mean((answers - label) ** 2 if regression else answers.argmax(axis=1) == label))
    if not regression:
        second, first = np.partition(answers, -2, axis=1)[:, -2:].T
        tied = float(np.mean(first - second <= ROUNDING * np.maximum(1.0, np.abs(answers).max(axis=1))))
    if abs(stated - found) > tied + 1e-5 * found + 1e-9:
        yield Finding(what=f"{name} is {stated:.6g}, but the model has {found:.6g} on the training examples evaluated")


def judge_suite(
    cell: Cell, splits: DatasetSplits, registry: Registry, findings: list[Finding], missing: list[str]
) -> bool:
    """Report a cell that its suite lacks; return whether such a suite is registered.

    `missing` receives the report if an earlier version of the suite, or of its components' code, may have had the cell.
    """
    if cell.training.weights:
        if (cell.profile, cell.protocol) != (OWN_PROFILE, OWN_PROTOCOL):
            findings.append(
                Finding(what=f"a model that was trained elsewhere has profile {OWN_PROFILE}, not {cell.profile}")
            )
        return True  # it is in no suite's grid, and the row does not claim that
    suite = _read(cell.suite, registry)
    if suite is None:
        return False
    planned = list(cells_like(cell, suite, registry, splits)) if cell.profile in suite.profiles else []
    if _without_code(cell) not in map(_without_code, planned):
        what = f"not a cell of {cell.suite}/{cell.profile} as registered here"
        if suite.protocol != cell.protocol or code_changes(cell, registry):
            missing.append(what)
        else:
            findings.append(Finding(what=what))
    return True


def _inconsistent(outcomes: Mapping[str, Array]) -> list[Finding]:
    """Find missing columns of a classification, and examples whose columns disagree."""
    names = {"label", "prediction", "correct", "adversarial_prediction", "robust"}
    if not {"correct", "robust"} & outcomes.keys():
        return []  # a regression
    if absent := sorted(names - outcomes.keys()):
        return [Finding(what=f"the outcomes have no column {', '.join(map(repr, absent))}")]
    correct = outcomes["prediction"] == outcomes["label"]
    robust = correct & (outcomes["adversarial_prediction"] == outcomes["label"])
    wrong = (correct != outcomes["correct"]) | (robust != outcomes["robust"])
    if "certified" in outcomes:
        wrong |= outcomes["certified"].astype(bool) & ~robust
    found = tuple(int(i) for i in outcomes["index"][wrong])
    return [Finding(what="the outcomes contradict themselves", examples=found)] if found else []


def _interval_problems(row: Row, outcomes: Mapping[str, Array]) -> Iterator[str]:
    """Say which ends of intervals are not those of accuracies and outcomes."""
    expected = {**accuracy_bounds(row), **mean_bounds(row, outcomes)}
    for name in sorted({*_BOUNDS, *expected}):
        found, end = value_of(row, name), expected.get(name)
        if (found is None) != (end is None) or (found is not None and end is not None and not _close(found, end)):
            yield f"{name} is {found}, but accuracy or outcomes give {end}"


def _difference_problems(row: Row) -> Iterator[str]:
    """Say which gaps are not the difference of their columns."""
    pairs = [("train_accuracy", "test_accuracy"), ("adv_train_accuracy", "adv_test_accuracy")]
    if row.test_mse is not None:
        pairs = [("test_mse", "train_mse"), ("adv_test_mse", "adv_train_mse")]
    for name, (first, second) in zip(("gap", "adv_gap"), pairs):
        found, one, other = (value_of(row, column) for column in (name, first, second))
        if found is not None and one is not None and other is not None and not _close(found, one - other):
            yield f"{name} is {found:.6g}, not {first} minus {second}"


@functools.lru_cache(maxsize=4)
def _read(name: str, registry: Registry) -> Suite | None:
    """The registered suite of a name; None if there is none, or none that can be read."""
    with suppress(BenchbenchError):
        if name in {entry.offer.name for entry in registry.offers("suite")}:
            return read_suite(name, registry)
    return None


def _without_code(cell: Cell) -> object:
    """The configuration without the code of its components."""
    return json.loads(
        to_json(cell),
        object_hook=lambda found: {k: v for k, v in found.items() if "kind" not in found or k not in _CODE},
    )
