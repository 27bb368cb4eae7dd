"""Evaluating a regression model: an attack's candidates checked, then whatever the suite's metrics measure. In float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from benchbench.contract import Attack, Examples, KeyedGenerator, SplitName, Threat, derive_seed
from benchbench.contract.evaluation import RegressionMetric
from benchbench.errors import ContractError, OptionError
from benchbench.evaluation.lending import Loan
from benchbench.evaluation.measuring import Columns, measure_all
from benchbench.evaluation.memory import Memory
from benchbench.evaluation.outcome import Outcome
from benchbench.evaluation.subject import borrowed
from benchbench.evaluation.supervision import counting, propose

_SPLITS: tuple[SplitName, ...] = ("train", "test")


@dataclass(frozen=True, kw_only=True)
class _Attacked:
    candidates: Tensor
    forward: int
    gradient: int


class AttackedRegression:
    """The evidence that metrics for regression get (`benchbench.contract.RegressionEvidence`)."""

    def __init__(
        self,
        model: nn.Module,
        examples: Mapping[SplitName, Examples],
        *,
        threat: Threat,
        attack: Attack,
        attack_name: str,
        seed: int,
    ) -> None:
        self._model, self._threat = model, threat
        lent = {f"{name} inputs": split.inputs for name, split in examples.items()}
        self.loan = Loan(model, {**lent, **{f"{name} targets": split.labels for name, split in examples.items()}})
        self._examples = examples
        self._attack, self._attack_name, self._seed = attack, attack_name, seed

    @property
    def model(self) -> nn.Module:
        """The model, in evaluation mode, with frozen parameters."""
        return self._model

    @property
    def threat(self) -> Threat:
        """Ball and box of the protocol."""
        return self._threat

    def examples(self, split: SplitName) -> Examples:
        """float64 inputs (N, ...) and targets (N,)."""
        return self._examples[split]

    def candidates(self, split: SplitName) -> Tensor:
        """The attack's candidates, float64 (N, ...), in ball and box."""
        return (self.attacked_train if split == "train" else self.attacked_test).candidates

    @cached_property
    def attacked_train(self) -> _Attacked:
        """What the attack did to the training examples."""
        return self._run("train")

    @cached_property
    def attacked_test(self) -> _Attacked:
        """What the attack did to the test examples."""
        return self._run("test")

    def predictions(self, split: SplitName) -> Tensor:
        """f at the inputs, float64 (N,).

        Raises:
            ContractError: predictions of another shape, or that are not finite.
        """
        inputs = self.examples(split).inputs
        with torch.no_grad():
            predictions: Tensor = self._model(inputs)
        if tuple(predictions.shape) != (len(inputs),):
            raise ContractError(f"expected one prediction per input, got shape {tuple(predictions.shape)}")
        if not predictions.isfinite().all():
            raise ContractError(f"the model's predictions on {split} are not finite")
        return predictions.double()

    def _run(self, split: SplitName) -> _Attacked:
        inputs, what = self.examples(split).inputs, f"attack {self._attack_name!r} on {split}"
        rows = torch.arange(len(inputs), device=inputs.device)
        with counting(self._model) as queries:
            candidates = propose(
                self._attack,
                self._model,
                inputs,
                self.examples(split).labels,
                threat=self._threat,
                generator=KeyedGenerator(derive_seed(self._seed, "attack", split), rows),
                rows=rows,
                what=what,
                loan=self.loan,
            ).clone()  # what the attack returned, it may still hold
        self.loan.inspect(what)
        self.loan.add(f"candidates of the attack on {split}", candidates)
        return _Attacked(candidates=candidates, forward=queries.forward, gradient=queries.gradient)


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

    Args:
        model: maps float64 inputs (N, ...) to predictions (N,); its mode and parameters are left as they were.
        train: training examples: float32 inputs and targets.
        test: test examples, likewise.
        threat: ball, of radius above 0, and box.
        attack: proposes the perturbed inputs; gets float64 inputs and the targets as labels.
        attack_name: its name, for messages.
        metrics: what is measured, by name; each gets an `AttackedRegression`.
        seed: of the run.
        device: where it is done; None for the CPU. It must have float64.
        columns: as for `evaluate`.

    Raises:
        OptionError: for a radius of 0, where Lipschitz ratios are not defined.
        ContractError: model, attack or metric broke its contract.
    """
    if not threat.epsilon > 0:
        raise OptionError(f"regression measures need a radius epsilon above 0, got {threat.epsilon!r}")
    where = device or torch.device("cpu")
    examples: dict[SplitName, Examples] = {"train": _doubled(train, where), "test": _doubled(test, where)}
    with borrowed(model.to(where)):
        evidence = AttackedRegression(model, examples, threat=threat, attack=attack, attack_name=attack_name, seed=seed)
        outcome = _measure(evidence, metrics, columns)
        evidence.loan.settle()
        return outcome


def _doubled(examples: Examples, device: torch.device) -> Examples:
    return Examples(inputs=examples.inputs.to(device).double(), labels=examples.labels.to(device).double())


def _measure(evidence: AttackedRegression, metrics: Mapping[str, RegressionMetric], columns: Columns | None) -> Outcome:
    memory = Memory(None)
    for split in _SPLITS:
        evidence.predictions(split)  # checked before anything is made of them
    measured = measure_all(metrics, evidence, memory, evidence.loan, columns)
    attacked = evidence.attacked_test
    per_example = {
        "index": torch.arange(len(attacked.candidates)),
        "label": evidence.examples("test").labels.cpu(),
        "prediction": evidence.predictions("test").cpu(),
    }
    return Outcome(
        values=measured.values,
        per_example={**{name: torch.as_tensor(v) for name, v in measured.per_example.items()}, **per_example},
        witnesses=attacked.candidates.cpu(),
        flags=(),
        diagnostics=0,
        queries={"test_forward": attacked.forward, "test_gradient": attacked.gradient},
        seconds=memory.seconds,
    )
