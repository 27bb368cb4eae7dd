"""Evaluating a regression model in float64: an attack, then the suite's metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from benchbench.contract import Attack, Examples, KeyedGenerator, SplitName, Threat, derive_seed
from benchbench.contract.evaluation import RegressionMetric
from benchbench.errors import ContractError, OptionError
from benchbench.evaluation.lending import Loan
from benchbench.evaluation.measuring import Columns, measure_all
from benchbench.evaluation.memory import Memory
from benchbench.evaluation.outcome import Outcome, join_outcome
from benchbench.evaluation.subject import borrowed
from benchbench.evaluation.supervision import QueryCount, counting, propose


@dataclass(frozen=True, kw_only=True)
class _Attacked:
    candidates: Tensor
    queries: QueryCount


@dataclass(frozen=True, kw_only=True)
class AttackedRegression:
    """Implements `benchbench.contract.RegressionEvidence`, by the arguments of an evaluation."""

    model: nn.Module
    splits: Mapping[SplitName, Examples]
    threat: Threat
    attack: Attack
    attack_name: str
    seed: int
    _attacked: dict[SplitName, _Attacked] = field(default_factory=dict)

    @cached_property
    def loan(self) -> Loan:
        """The model and the examples that plugins are lent."""
        lent = {f"{name} inputs": split.inputs for name, split in self.splits.items()}
        return Loan(self.model, {**lent, **{f"{name} targets": split.labels for name, split in self.splits.items()}})

    def examples(self, split: SplitName) -> Examples:
        """float64 inputs (N, ...) and targets (N,)."""
        return self.splits[split]

    def candidates(self, split: SplitName) -> Tensor:
        """The attack's candidates, float64 (N, ...), in ball and box."""
        return self.attacked(split).candidates

    def attacked(self, split: SplitName) -> _Attacked:
        """What the attack did to a split."""
        if split not in self._attacked:
            inputs, what = self.examples(split).inputs, f"attack {self.attack_name!r} on {split}"
            rows = torch.arange(len(inputs), device=inputs.device)
            with counting(self.model) as queries:
                candidates = propose(
                    self.attack,
                    self.model,
                    inputs,
                    self.examples(split).labels,
                    threat=self.threat,
                    generator=KeyedGenerator(derive_seed(self.seed, "attack", split), rows),
                    rows=rows,
                    what=what,
                    loan=self.loan,
                ).clone()  # the attack may still hold the tensor that it returned
            self.loan.inspect(what)
            self.loan.add(f"candidates of the attack on {split}", candidates)
            self._attacked[split] = _Attacked(candidates=candidates, queries=queries)
        return self._attacked[split]

    def predictions(self, split: SplitName) -> Tensor:
        """f at the inputs, float64 (N,), finite; anything else is a ContractError."""
        inputs = self.examples(split).inputs
        with torch.no_grad():
            predictions: Tensor = self.model(inputs)
        if tuple(predictions.shape) != (len(inputs),):
            raise ContractError(f"expected one prediction per input, got shape {tuple(predictions.shape)}")
        if not predictions.isfinite().all():
            raise ContractError(f"the model's predictions on {split} are not finite")
        return predictions.double()


def evaluate_regression(
    model: nn.Module,
    *,
    train: Examples,
    test: Examples,
    threat: Threat,
    attack: Attack,
    attack_name: str,
    metrics: Mapping[str, RegressionMetric],
    seed: int = 0,
    device: torch.device | None = None,
    columns: Columns | None = None,
) -> Outcome:
    """Attack and measure a regression model; the counterpart of `evaluate`.

    The model maps float64 inputs (N, ...) to predictions (N,); its mode and parameters are restored. The examples have float32
    inputs and targets. The attack receives float64 inputs, and the targets as labels; each metric an `AttackedRegression`. The
    device, by default the CPU, must support float64. A radius of 0, where Lipschitz ratios are not defined, is an OptionError;
    a broken contract a ContractError.
    """
    if not threat.epsilon > 0:
        raise OptionError(f"regression measures need a radius epsilon above 0, got {threat.epsilon!r}")
    where = device or torch.device("cpu")
    examples: dict[SplitName, Examples] = {"train": _in_float64(train, where), "test": _in_float64(test, where)}
    with borrowed(model.to(where)):
        evidence = AttackedRegression(
            model=model, splits=examples, threat=threat, attack=attack, attack_name=attack_name, seed=seed
        )
        loan = evidence.loan  # before any plugin runs
        for split in examples:
            evidence.predictions(split)  # checked before metrics use them
        memory = Memory(None)
        measured = measure_all(metrics, evidence, memory, loan, columns)
        attacked = evidence.attacked("test")
        per_example = {
            "index": torch.arange(len(attacked.candidates)),
            "label": evidence.examples("test").labels.cpu(),
            "prediction": evidence.predictions("test").cpu(),
        }
        loan.settle()
    return join_outcome(measured, per_example, attacked.candidates.cpu(), attacked.queries, memory)


def _in_float64(examples: Examples, device: torch.device) -> Examples:
    return Examples(inputs=examples.inputs.to(device).double(), labels=examples.labels.to(device).double())
