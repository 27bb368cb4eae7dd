"""The evaluation of one trained model, from clean accuracy to flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor, nn

from benchbench.cell.model import DIAGNOSTICS
from benchbench.contract import Attack, Examples, Metric, Threat
from benchbench.evaluation.diagnostics import FLAGS, diagnose
from benchbench.evaluation.evidence import ModelEvidence
from benchbench.evaluation.measuring import Columns, measure_all
from benchbench.evaluation.memory import MeasurementCache, Memory
from benchbench.evaluation.shards import Shard, Sharing
from benchbench.evaluation.subject import Trial, borrowed, default_batch_size, place
from benchbench.events import Listener, ignore
from benchbench.kernels.arithmetic import Precision, precision_of_searches

_DIAGNOSIS = f"diagnosis/{DIAGNOSTICS}"  # the key of their part


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Measures of one model.

    Attributes:
        values: column to value, from all metrics.
        per_example: column to a tensor (N,) on the CPU, over the test examples: ``index`` in the dataset, ``label``,
            ``prediction``, ``correct``, ``robust``, ``adversarial_prediction``, and what metrics add.
        witnesses: float32 (N, ...) on the CPU, the attack's checked candidate for each test example; the image itself
            where that is misclassified already.
        flags: signs that the attack could not do its work, see `benchbench.evaluation.diagnostics`.
        diagnostics: revision of what looked for these signs; 0 where nothing did.
        queries: test examples that the attack passed through the model (``test_forward``), each time counted, and how many
            of those with a gradient to the input (``test_gradient``).
        seconds: what it took, over all sittings; a metric that an earlier sitting finished counts without what it asked for.
    """

    values: Mapping[str, float]
    per_example: Mapping[str, Tensor]
    witnesses: Tensor
    flags: tuple[str, ...]
    diagnostics: int
    queries: Mapping[str, int]
    seconds: float


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
) -> Outcome:
    """Attack and measure a model.

    Args:
        model: maps float32 inputs to logits (N, classes). It is moved to `device`; mode, gradient flags and memory layout are
            put back afterwards.
        train: training examples to evaluate, uint8 images or float32 features; at least one.
        test: test examples, likewise.
        train_rows: int64, index of each training example in its dataset.
        test_rows: int64, index of each test example in its dataset.
        classes: number of classes, at least 2.
        threat: ball and box.
        attack: the attack of the protocol.
        attack_name: its name, for messages and progress.
        metrics: what is measured, by name.
        seed: of the run; keys every draw together with purpose, split and example.
        device: where it is done.
        batch_size: examples per forward pass; None for what suits the device.
        listener: takes `benchbench.events.EvaluationProgress`.
        cache: keeps finished parts, so that an interrupted evaluation goes on; it must belong to this very evaluation.
        precision: of the searches of attacks and metrics; verdicts and estimates are float32's in any case.
        sharing: with other processes that evaluate the same and use the same cache; None for this process alone.
        columns: of the leaderboard, and which of them each metric declares to fill; None where no row is recorded.

    Raises:
        ContractError: model, attack or metric broke its contract; the message names it and the example.
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
        memory, loan = Memory(cache, sharing), trial.loan
        outcome = _measure(ModelEvidence(trial, memory), test_rows, metrics, memory, columns)
        loan.settle()
        return outcome


def _measure(
    evidence: ModelEvidence,
    test_rows: Tensor,
    metrics: Mapping[str, Metric],
    memory: Memory,
    columns: Columns | None,
) -> Outcome:
    attacked = evidence.attacked("test")
    measured = measure_all(metrics, evidence, memory, evidence.loan, columns)
    diagnosis = Shard(key=_DIAGNOSIS, compute=lambda: {flag: torch.tensor(True) for flag in diagnose(evidence)})
    (flags,) = memory.gather([diagnosis])
    per_example = {
        "index": test_rows.cpu(),
        "label": evidence.labels("test"),
        "prediction": evidence.prediction("test"),
        "correct": evidence.correct("test"),
        "adversarial_prediction": attacked.prediction,
        "robust": evidence.robust("test"),
    }
    return Outcome(
        values=measured.values,
        per_example={**{column: torch.as_tensor(v) for column, v in measured.per_example.items()}, **per_example},
        witnesses=attacked.candidates,
        flags=tuple(sorted(flag for flag in flags if flag in FLAGS)),
        diagnostics=DIAGNOSTICS,
        queries={"test_forward": attacked.forward, "test_gradient": attacked.gradient},
        seconds=memory.seconds,
    )
