"""Compare a row with its evidence: identity, numbers, predictions on adversarial images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchbench.cell.model import Cell
from benchbench.errors import BenchbenchError
from benchbench.records import Row, accuracy_interval
from benchbench.records.arrays import Array
from benchbench.registry import Registry

Confirmation = Literal["confirmed", "refuted", "unchecked"]
ROUNDING = 1e-4  # of the largest logit: other machines round differently, which may decide a tie
_MEAN_ROUNDING = 1e-6
_SHOWN = 3
_MEANS = {  # column of the row, or name in its column extra -> column of the outcomes whose mean it is
    "test_accuracy": "correct",
    "adv_test_accuracy": "robust",
    "test_lipschitz": "lipschitz",
    "test_lipschitz_best": "lipschitz_best",
    "test_lipschitz_released": "lipschitz_released",
    "test_mse": "squared_error",
    "adv_test_mse": "adv_squared_error",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A contradiction that refutes a row, with the dataset indices of its examples, in order."""

    what: str
    examples: tuple[int, ...] = ()

    def __str__(self) -> str:
        if not self.examples:
            return self.what
        shown = ", ".join(map(str, self.examples[:_SHOWN]))
        more = f" and {len(self.examples) - _SHOWN} more" if len(self.examples) > _SHOWN else ""
        return f"{self.what}: example{'s' if len(self.examples) > 1 else ''} {shown}{more}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of checking one row.

    Attributes:
        status: ``"confirmed"``: `proven` holds, and a new attack breaks no more than the row admits; ``"refuted"``: a finding
            contradicts the row; ``"unchecked"``: no finding, but something is missing on this machine.
        findings: what refutes the row.
        missing: what could not be checked, and why.
        changed: components whose code here differs from that of the row; this does not refute it.
        replayed: number of replayed test examples.
        bound: share of examples that withstood the replayed witnesses, an upper bound on robust accuracy; None for
            regressions and if nothing was replayed.
        proven: what the replayed witnesses prove, in words; empty if nothing.
        remarks: what was tried in addition, in words.
        seed: chose the examples of the new attack and its draws; None if no attack was made.
        queries: examples that the new attack passed through the model.
        sampled: dataset indices of the examples attacked again.
        broken: of those, the ones recorded as robust that the row's own attack breaks now.
        flags: of the diagnostics, now; they refute nothing.
        broken_share: lower bound on the share of all examples that are misclassified or can be broken, from the witnesses, the
            new attack and the searches; None if no attack was made, and for regressions.
    """

    cell_id: str
    label: str
    status: Confirmation
    findings: tuple[Finding, ...] = ()
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    replayed: int = 0
    bound: float | None = None
    proven: str = ""
    remarks: tuple[str, ...] = ()
    seed: int | None = None
    queries: int = 0
    sampled: tuple[int, ...] = ()
    broken: tuple[int, ...] = ()
    flags: tuple[str, ...] = ()
    broken_share: float | None = None

    def __str__(self) -> str:
        """The verdict in one line: status, what is proven, then everything else that is known."""
        said = [self.proven, *map(str, self.findings), *self.missing, *self.remarks]
        if self.broken_share is not None:
            said.append(
                f"at least {_percent(self.broken_share, math.floor)} of the examples are wrong or can be broken"
            )
        said += [f"flags now: {', '.join(self.flags)}"] if self.flags else []
        return f"{self.status}: " + "; ".join(filter(None, [*said, *self.changed]))


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The predictions of the model now.

    Attributes:
        index: int64 (N,), position of each test example in its dataset.
        label: (N,), classes or targets.
        clean: (N, classes) logits, or (N,) predictions of a regression, on the test examples; None without the model.
        attacked: the same on the witnesses.
        outside: (N,), distance of a witness from the box; 0 inside.
        beyond: (N,), distance to the ball and its tolerance for rounding; at most 0 inside.
    """

    index: Array
    label: Array
    clean: Array | None
    attacked: Array | None
    outside: Array
    beyond: Array


def code_changes(cell: Cell, registry: Registry) -> Mapping[str, tuple[str, str]]:
    """Return the recorded and the present code of the components that differ.

    Such as ``{"defense llr": ("revision 1", "revision 2")}``, without components that are not installed here.
    """
    found: dict[str, tuple[str, str]] = {}
    for component in cell.components:
        with suppress(BenchbenchError):
            here = registry.as_here(component)
            if here.code != component.code:
                found[f"{component.kind} {component.name}"] = (component.code, here.code)
    return found


def identity_findings(row: Row, cell: Cell) -> list[Finding]:
    """Find identity columns that contradict the row's configuration."""
    return [
        Finding(what=f"column {name} is {getattr(row, name)!r}, but the row's configuration says {value!r}")
        for name, value in cell.identity().items()
        if getattr(row, name) != value
    ]


def outcome_findings(row: Row, outcomes: Mapping[str, Array]) -> list[Finding]:
    """Find numbers of a row that contradict its per-example outcomes, already checked in form."""
    findings = []
    n = len(outcomes.get("index", ()))
    if n != row.n_test:
        findings.append(Finding(what=f"the row is of {row.n_test:,} test examples, its outcomes of {n:,}"))
    for name, column in _MEANS.items():
        stated = getattr(row, name, row.extra.get(name))
        if column not in outcomes or (stated is None and name == "test_lipschitz_best"):
            continue
        mean = float(np.mean(outcomes[column], dtype=np.float64)) if n else math.nan
        if stated is None or not _close(stated, mean):
            findings.append(Finding(what=f"{name} is {stated}, but the outcomes give {mean:.10g}"))
    return [*findings, *_inconsistent(outcomes), *_interval_findings(row), *_gap_findings(row)]


def replay_findings(outcomes: Mapping[str, Array], replay: Replay) -> list[Finding]:
    """Find examples on which the record contradicts the model."""
    if not _same_length(outcomes, replay):
        return [Finding(what=f"{len(replay.index):,} examples were replayed, the outcomes are of another number")]
    checks = {
        "the outcomes are of other test examples": outcomes["index"] != replay.index,
        "the recorded label is not the dataset's": outcomes["label"] != replay.label,
        "the adversarial image is not finite": ~np.isfinite(replay.beyond),
        "the adversarial image leaves the box": replay.outside > 0,
        "the adversarial image leaves the ball": replay.beyond > 0,
    }
    if replay.clean is not None and replay.attacked is not None:
        judge = _regression_checks if replay.clean.ndim == 1 else _class_checks
        checks |= judge(outcomes, replay.label, replay.clean, replay.attacked)
    return [Finding(what=what, examples=_examples(replay, wrong)) for what, wrong in checks.items() if wrong.any()]


def proven(outcomes: Mapping[str, Array], bound: float | None) -> str:
    """Say what witnesses prove that agree with the model; empty if nothing."""
    if bound is not None:
        return f"robust accuracy is at most {_percent(bound, math.ceil)}"
    if "adv_squared_error" not in outcomes:
        return ""
    return f"the mean squared error under attack is at least {float(np.mean(outcomes['adv_squared_error'])):.4g}"


def withstood(outcomes: Mapping[str, Array], replay: Replay) -> float | None:
    """Share of examples that are correct without perturbation and on the witness."""
    if replay.clean is None or replay.attacked is None or replay.clean.ndim == 1 or not len(replay.label):
        return None
    correct = _as_recorded(replay.clean, outcomes["prediction"]) == replay.label
    robust = _as_recorded(replay.attacked, outcomes["adversarial_prediction"]) == replay.label
    return float(np.mean(correct & robust))


def _class_checks(outcomes: Mapping[str, Array], label: Array, clean: Array, attacked: Array) -> dict[str, Array]:
    on_clean, on_attacked = outcomes["prediction"], outcomes["adversarial_prediction"]
    return {
        "the model predicts another class than recorded": _as_recorded(clean, on_clean) != on_clean,
        "the model predicts another class on the adversarial image": _as_recorded(attacked, on_attacked) != on_attacked,
    }


def _regression_checks(outcomes: Mapping[str, Array], label: Array, clean: Array, attacked: Array) -> dict[str, Array]:
    checks = {"the model predicts another value than recorded": ~_all_close(clean, outcomes["prediction"])}
    if "adv_squared_error" in outcomes:
        found = _all_close((attacked - label) ** 2, outcomes["adv_squared_error"])
        checks["the squared error on the perturbed input is not the recorded one"] = ~found
    return checks


def _as_recorded(logits: Array, recorded: Array) -> Array:
    """The predicted classes; the recorded class if its logit is the largest up to rounding."""
    predicted = logits.argmax(axis=1)
    if recorded.dtype.kind not in "iu":
        return np.asarray(predicted)
    known = np.clip(recorded, 0, logits.shape[1] - 1)
    short = logits.max(axis=1) - np.take_along_axis(logits, known[:, None], axis=1)[:, 0]
    tied = (known == recorded) & (short <= ROUNDING * np.maximum(1.0, np.abs(logits).max(axis=1)))
    return np.asarray(np.where(tied, recorded, predicted))


def _same_length(outcomes: Mapping[str, Array], replay: Replay) -> bool:
    return all(len(outcomes.get(name, ())) == len(replay.index) for name in ("index", "label", "prediction"))


def _inconsistent(outcomes: Mapping[str, Array]) -> list[Finding]:
    """Find examples on which outcome columns contradict one another."""
    names = {"index", "label", "prediction", "adversarial_prediction", "correct", "robust"}
    if not names <= outcomes.keys():
        return []
    correct = outcomes["prediction"] == outcomes["label"]
    robust = correct & (outcomes["adversarial_prediction"] == outcomes["label"])
    wrong = (correct != outcomes["correct"]) | (robust != outcomes["robust"])
    found = tuple(int(i) for i in outcomes["index"][wrong])
    return [Finding(what="the outcomes contradict themselves", examples=found)] if found else []


def _interval_findings(row: Row) -> list[Finding]:
    findings = []
    for name in ("test_accuracy", "adv_test_accuracy", "train_accuracy", "adv_train_accuracy"):
        value, n = getattr(row, name), row.n_train_evaluated if "train" in name else row.n_test
        if value is None or n < 1:
            continue
        interval = accuracy_interval(round(value * n), n)
        stated = (getattr(row, f"{name}_low"), getattr(row, f"{name}_high"))
        if None in stated or not (_close(stated[0], interval.low) and _close(stated[1], interval.high)):
            findings.append(Finding(what=f"the interval of {name} is not Wilson's for {value:.6g} of {n:,} examples"))
    return findings


def _gap_findings(row: Row) -> list[Finding]:
    findings = []
    for name, train, test in (
        ("gap", "train_accuracy", "test_accuracy"),
        ("adv_gap", "adv_train_accuracy", "adv_test_accuracy"),
    ):
        values = [getattr(row, column) for column in (name, train, test)]
        if None not in values and not _close(values[0], values[1] - values[2]):
            findings.append(Finding(what=f"{name} is {values[0]:.6g}, not {train} minus {test}"))
    return findings


def _examples(replay: Replay, wrong: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in replay.index[wrong])


def _percent(share: float, direction: Callable[[float], int]) -> str:
    """A bound in percent, rounded in the direction in which it stays true."""
    return f"{direction(round(1000 * share, 6)) / 10:.1f}%"


def _close(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=_MEAN_ROUNDING, abs_tol=1e-9)


def _all_close(first: Array, second: Array) -> Array:
    return np.asarray(np.isclose(first, second, rtol=1e-5, atol=1e-8))
