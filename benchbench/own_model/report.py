"""The results of one model under several attacks, and of an audit."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

from benchbench.cell.model import Component
from benchbench.contract.threat import Threat
from benchbench.errors import counted
from benchbench.escaping import as_html, as_text
from benchbench.evaluation import Outcome
from benchbench.own_model.setup import SetupMistake
from benchbench.records import accuracy_interval

COLUMNS = ("attack", "test accuracy", "95% interval", "flags")
LEVEL = 0.01  # of true claims, at most this share is refuted by chance
RANDOM = "random-model"  # the flag
LOOKS = 10  # at a random model, at most


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
    values: Mapping[str, float]  # of the metrics, by name
    cell_id: str = ""  # of its row, if it was recorded
    notes: Mapping[str, str] = field(default_factory=dict)  # what metrics say about their values, or why they have none


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
        setup: likely mistakes in how the model is used; they change no number.
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
    setup: tuple[SetupMistake, ...] = ()

    @property
    def title(self) -> str:
        """Data, number of examples and threat."""
        return f"{self.dataset}, {counted(len(self.label), 'test example')}, {self.threat.norm} epsilon {self.threat.epsilon:g}"

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

    @property
    def measured(self) -> list[tuple[str, ...]]:
        """Each value of the metrics beyond the table's, with one number for each attack."""
        names = dict.fromkeys(name for attack in self.attacks.values() for name in attack.values)
        listed = [name for name in names if name not in ("test_accuracy", "adv_test_accuracy")]
        found = ((name, [attack.values.get(name) for attack in self.attacks.values()]) for name in listed)
        return [(name, *("" if value is None else f"{value:.4g}" for value in values)) for name, values in found]

    @property
    def warnings(self) -> list[str]:
        """One line for each note of a metric, and for each likely mistake in the set-up."""
        notes = dict.fromkeys(f"{name}: {note}" for one in self.attacks.values() for name, note in one.notes.items())
        return [*notes, *(f"check the set-up: {mistake}" for mistake in self.setup)]

    def _interval(self, share: float) -> str:
        interval = accuracy_interval(round(share * len(self.label)), len(self.label))
        return f"{100 * interval.low:.2f} to {100 * interval.high:.2f}"

    def __repr__(self) -> str:
        return "\n".join([as_text(self.title, COLUMNS, self.lines), *self.warnings])

    def _repr_html_(self) -> str:
        """For notebooks."""
        return as_html(self.title, COLUMNS, self.lines) + "".join(f"<p>{html.escape(w)}</p>" for w in self.warnings)


def make_report(
    dataset: str,
    digest: str,
    threat: Threat,
    outcomes: Mapping[str, Outcome],
    attacks: Mapping[str, Component],
    cells: Mapping[str, str] = MappingProxyType({}),
) -> ModelReport:
    """Join the outcomes of several attacks on the same examples, with the ids of their rows."""
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
        attacks={
            label: _attack_report(attacks[label], outcome, cells.get(label, "")) for label, outcome in outcomes.items()
        },
        worst_case=worst,
        worst_case_accuracy=_fraction(worst),
    )


def _attack_report(attack: Component, outcome: Outcome, cell_id: str) -> AttackReport:
    return AttackReport(
        name=attack.name,
        options=attack.options,
        accuracy=_fraction(outcome.per_example["robust"]),
        robust=outcome.per_example["robust"],
        prediction=outcome.per_example["adversarial_prediction"],
        witnesses=outcome.witnesses,
        flags=outcome.flags,
        queries=outcome.queries["test_forward"],
        values=outcome.values,
        cell_id=cell_id,
        notes=outcome.notes,
    )


def _fraction(outcomes: Tensor) -> float:
    return int(outcomes.sum()) / len(outcomes)


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One attack of an audit."""

    attack: str
    examples: int  # it was tried on these
    broken: int  # of them
    seconds: float
    planted: int = 0  # answers that it was tested with
    found: int = 0  # of them


@dataclass(frozen=True, kw_only=True, repr=False)
class AuditReport:
    """The result of `audit`; tensors are over the attacked test examples, on the CPU."""

    first: ModelReport  # of the first attack: data, threat, set-up
    flags: tuple[str, ...]  # of the diagnostics after it
    claimed: float  # robust accuracy
    tried: tuple[Tried, ...]
    left: tuple[str, ...]  # attacks that were not tried, or failed
    robust: Tensor  # bool (N,), withstood all attacks; of a random model, the strongest one
    witnesses: Tensor  # float32 (N, ...), what broke each example, or was tried last

    @property
    def bound(self) -> float:
        """Share of the examples that withstood all attacks, an upper bound on the robust accuracy."""
        return float(self.robust.double().mean())

    @property
    def p_value(self) -> float:
        """Upper bound on the probability of so few robust examples, if the claim is true."""
        from scipy.stats import binom

        looks = LOOKS if RANDOM in self.flags else 1
        return min(1.0, looks * float(binom.cdf(int(self.robust.sum()), len(self.robust), self.claimed)))

    @property
    def refuted(self) -> bool:
        """Whether the claim is refuted."""
        return self.p_value <= LEVEL

    def __repr__(self) -> str:
        blind = tuple(one.attack for one in self.tried if 5 * one.found < 4 * one.planted)
        known = {"flags": self.flags, "not tried": self.left, "cannot find planted answers": blind}
        tests = [f"{one.found} of {one.planted}" if one.planted else "" for one in self.tried]
        rows = [(t.attack, t.examples, t.broken, f"{t.seconds:.1f}", test) for t, test in zip(self.tried, tests)]
        columns = ("attack", "tried on", "broken", "seconds", "planted answers found")
        lines = [as_text(self.first.title, columns, rows)]
        lines += [f"{what}: {', '.join(names)}" for what, names in known.items() if names]
        return "\n".join([*lines, *self.first.warnings, self.verdict])

    @property
    def verdict(self) -> str:
        """One sentence: whether the claim is refuted, by how many examples."""
        return (
            f"{'refuted' if self.refuted else 'not refuted'}: {self.claimed:.2%} is claimed, {self.bound:.2%} of "
            f"{counted(len(self.robust), 'example')} withstood all attacks, "
            f"{self.first.test_accuracy:.2%} are right without one; "
            f"p = {self.p_value:.2g}, exact one-sided test"
        )
