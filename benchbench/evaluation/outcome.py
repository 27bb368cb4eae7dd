"""The evaluation of one trained model, from clean accuracy to flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypedDict

import torch
from torch import Tensor, nn

from benchbench.cell.model import DIAGNOSTICS
from benchbench.contract import Attack, Examples, Metric, Threat
from benchbench.evaluation.certificates import check_certificates, unanswered
from benchbench.evaluation.diagnostics import FLAGS, examine
from benchbench.evaluation.evidence import ModelEvidence
from benchbench.evaluation.measuring import Columns, Measured, measure_all
from benchbench.evaluation.memory import MeasurementCache, Memory, ShardResult, Sharing
from benchbench.evaluation.specimens import from_evidence
from benchbench.evaluation.subject import Trial, borrowed, default_batch_size, place
from benchbench.evaluation.supervision import QueryCount
from benchbench.events import Listener, ignore
from benchbench.kernels.arithmetic import Precision, precision_of_searches

_SEARCHED = "searched"  # entry of the diagnosis; absent in one that an earlier version kept


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Measures of one model."""

    values: Mapping[str, float]  # column to value, from all metrics
    per_example: Mapping[str, Tensor]  # columns (N,) on the CPU: of the evidence (see `evaluate`), and what metrics add
    witnesses: Tensor  # float32 (N, ...) on the CPU, checked candidates; the image where it is misclassified
    flags: tuple[str, ...]  # signs that the attack failed, see `benchbench.evaluation.diagnostics`
    diagnostics: int  # revision of the diagnostics that looked for these signs; 0 if none did
    queries: Mapping[str, int]  # of test examples by the attack: ``test_forward``, ``test_gradient`` (with a gradient)
    seconds: float  # earlier sittings included; a metric finished in one counts without its nested parts
    searched: Tensor = field(
        default_factory=lambda: torch.empty(0, dtype=torch.int64)
    )  # rows that only diagnostics broke
    notes: Mapping[str, str] = field(default_factory=dict)  # by metric, what it says about its values


class Subject(TypedDict):
    """What `evaluate` and `evaluate_regression` both take."""

    model: nn.Module
    train: Examples
    test: Examples
    threat: Threat
    attack: Attack
    attack_name: str
    seed: int
    device: torch.device
    columns: Columns | None


def evaluate(
    model: nn.Module,
    *,
    train: Examples,
    test: Examples,
    train_rows: Tensor,
    test_rows: Tensor,
    classes: int,
    threat: Threat,
    attack: Attack,
    attack_name: str,
    metrics: Mapping[str, Metric],
    seed: int,
    device: torch.device,
    batch_size: int | None = None,
    listener: Listener = ignore,
    cache: MeasurementCache | None = None,
    precision: Precision = "float32",
    sharing: Sharing | None = None,
    columns: Columns | None = None,
    diagnosed: bool = True,
    hurried: bool = False,
) -> Outcome:
    """Attack and measure a model.

    Of each test example, the outcome has ``index`` in the dataset, ``label``, ``prediction``, ``correct``, ``robust`` and
    ``adversarial_prediction``. A model, attack or metric that breaks its contract is a ContractError, which names it and the
    example.

    Args:
        model: maps float32 inputs to logits (N, classes). It is moved to `device`; mode, gradient flags and memory layout
            are restored.
        train: training examples to evaluate, uint8 images or float32 features; at least one; `test` likewise.
        train_rows: int64, index of each training example in its dataset; `test_rows` likewise.
        classes: number of classes, at least 2.
        attack_name: for messages and progress.
        seed: of the run; keys every draw together with purpose, split and example.
        batch_size: examples per forward pass; None for the default of the device.
        listener: receives `benchbench.events.EvaluationProgress`.
        cache: keeps finished parts, so that an interrupted evaluation can be continued; belongs to this evaluation alone.
        precision: of the searches of attacks and metrics; verdicts and estimates are always computed in float32.
        sharing: with other processes that run the same evaluation on the same cache; None for this process alone.
        columns: those of the leaderboard that metrics may fill; None if no row is recorded.
        diagnosed: whether to look for signs that the attack failed; `hurried`: see `diagnostics.examine`.
    """
    with borrowed(model.to(device)), precision_of_searches(precision):
        trial = Trial(
            model=model,
            splits={"train": place("train", train, train_rows, device), "test": place("test", test, test_rows, device)},
            classes=classes,
            threat=threat,
            attack=attack,
            attack_name=attack_name,
            seed=seed,
            batch_size=batch_size or default_batch_size(device),
            listener=listener,
        )
        memory = Memory(cache, sharing)
        evidence = ModelEvidence(trial, memory)
        attacked = evidence.attacked("test")
        measured = measure_all(metrics, evidence, memory, trial.loan, columns)
        parts = {f"diagnosis/{DIAGNOSTICS}": lambda: _diagnosis(evidence, hurried)} if diagnosed else {}
        found = next(memory.gather(parts), {})
        per_example = {
            "index": test_rows.cpu(),
            "label": evidence.labels("test"),
            "prediction": evidence.prediction("test"),
            "correct": evidence.correct("test"),
            "adversarial_prediction": attacked.prediction,
            "robust": evidence.robust("test"),
        }
        trial.loan.settle()
        check_certificates(measured, evidence, found.get(_SEARCHED))
    outcome = join_outcome(measured, per_example, attacked.candidates, attacked.queries, memory)
    flags, searched = (
        unanswered(found.keys() & FLAGS.keys(), outcome.per_example),
        found.get(_SEARCHED, outcome.searched),
    )
    return replace(outcome, flags=flags, diagnostics=DIAGNOSTICS if diagnosed else 0, searched=searched)


def _diagnosis(evidence: ModelEvidence, hurried: bool) -> ShardResult:
    flags, searched = examine(from_evidence(evidence), hurried=hurried)
    return {_SEARCHED: searched.cpu(), **{flag: torch.tensor(True) for flag in flags}}


def join_outcome(
    measured: Measured, per_example: Mapping[str, Tensor], witnesses: Tensor, queries: QueryCount, memory: Memory
) -> Outcome:
    """The outcome without diagnostics; `per_example` wins over columns of metrics."""
    filled = {column: torch.as_tensor(values) for column, values in measured.per_example.items()}
    return Outcome(
        values=measured.values,
        per_example={**filled, **per_example},
        witnesses=witnesses,
        flags=(),
        diagnostics=0,
        queries={"test_forward": queries.forward, "test_gradient": queries.gradient},
        seconds=memory.seconds,
        notes=measured.notes,
    )
