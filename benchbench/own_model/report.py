"""The results of one model under several attacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchbench.cell.model import Component
from benchbench.contract.threat import Threat
from benchbench.escaping import as_html, as_text
from benchbench.evaluation import Outcome
from benchbench.records import accuracy_interval

COLUMNS = ("attack", "test accuracy", "95% interval", "flags")


@dataclass(frozen=True, kw_only=True)
class AttackReport:
    """One attack on a model."""

    name: str  # of the attack
    options: Mapping[str, object]  # all of them
    accuracy: float  # share of test examples that are classified correctly, also under this attack
    robust: Tensor  # bool (N,), these examples
    prediction: Tensor  # int64 (N,), the class predicted for each candidate
    witnesses: Tensor  # float32 (N, ...), the checked candidates
    flags: tuple[str, ...]  # signs that the attack failed to work
    queries: int  # forward passes, summed over examples


@dataclass(frozen=True, kw_only=True, repr=False)
class ModelReport:
    """The result of `evaluate`. Tensors are over the evaluated test examples, on the CPU.

    Attributes:
        dataset: its name.
        dataset_digest: SHA-256 of the data.
        threat: ball and box.
        index: int64 (N,), index of each example in the test set.
        label: int64 (N,).
        prediction: int64 (N,), on the clean examples.
        test_accuracy: fraction correct without perturbation.
        attacks: by label: the name, with its options if two attacks share it.
        worst_case: bool (N,), robust against every attack.
        worst_case_accuracy: fraction robust against every attack.
    """

    dataset: str
    dataset_digest: str
    threat: Threat
    index: Tensor
    label: Tensor
    prediction: Tensor
    test_accuracy: float
    attacks: Mapping[str, AttackReport]
    worst_case: Tensor
    worst_case_accuracy: float

    @property
    def title(self) -> str:
        """Data, number of examples and threat."""
        return f"{self.dataset}, {len(self.label):,} test examples, {self.threat.norm} epsilon {self.threat.epsilon:g}"

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """The table to show, below `COLUMNS`; intervals are Wilson's at 95%."""
        found = [
            ("none", self.test_accuracy, ""),
            *((k, a.accuracy, ", ".join(a.flags)) for k, a in self.attacks.items()),
        ]
        if len(self.attacks) > 1:
            found.append(("worst case of each example", self.worst_case_accuracy, ""))
        return [(label, f"{share:.2%}", self._interval(share), flags) for label, share, flags in found]

    def _interval(self, share: float) -> str:
        interval = accuracy_interval(round(share * len(self.label)), len(self.label))
        return f"{100 * interval.low:.2f} to {100 * interval.high:.2f}"

    def __repr__(self) -> str:
        return as_text(self.title, COLUMNS, self.lines)

    def _repr_html_(self) -> str:
        """For notebooks."""
        return as_html(self.title, COLUMNS, self.lines)


def make_report(
    dataset: str, digest: str, threat: Threat, outcomes: Mapping[str, Outcome], attacks: Mapping[str, Component]
) -> ModelReport:
    """Join the outcomes of several attacks on the same examples."""
    first = next(iter(outcomes.values())).per_example
    worst = torch.stack([outcome.per_example["robust"] for outcome in outcomes.values()]).all(dim=0)
    return ModelReport(
        dataset=dataset,
        dataset_digest=digest,
        threat=threat,
        index=first["index"],
        label=first["label"],
        prediction=first["prediction"],
        test_accuracy=_fraction(first["correct"]),
        attacks={label: _attack_report(attacks[label], outcome) for label, outcome in outcomes.items()},
        worst_case=worst,
        worst_case_accuracy=_fraction(worst),
    )


def _attack_report(attack: Component, outcome: Outcome) -> AttackReport:
    return AttackReport(
        name=attack.name,
        options=attack.options,
        accuracy=_fraction(outcome.per_example["robust"]),
        robust=outcome.per_example["robust"],
        prediction=outcome.per_example["adversarial_prediction"],
        witnesses=outcome.witnesses,
        flags=outcome.flags,
        queries=outcome.queries["test_forward"],
    )


def _fraction(outcomes: Tensor) -> float:
    return int(outcomes.sum()) / len(outcomes)
