"""The harness: train a cell's model, evaluate it, record the row or the failure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from benchbench import provenance
from benchbench.cell import Cell, Component, canonical, digest
from benchbench.contract import DatasetSplits, Examples, derive_seed
from benchbench.data import Subset, crop_to, subset
from benchbench.errors import BenchbenchError, ContractError, DataError
from benchbench.evaluation import ATTACKED, Outcome, evaluate, evaluate_regression
from benchbench.evaluation.subject import default_batch_size
from benchbench.evaluation.supervision import leaving
from benchbench.events import Event, Listener, Note, ignore
from benchbench.fitting import fit_model, is_fitted
from benchbench.leaderboard.names import attack_label, short_label
from benchbench.records import Provenance, Row, RunStore, failed_row, measured_row
from benchbench.registry import Registry
from benchbench.shrinking import compute_within_memory
from benchbench.stopping import StopRequest
from benchbench.training import Checkpoint, TrainedModel, TrainingJob, train

PARTS = 2  # version of the cached parts; version 1 shared what the attack did between attacks


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """What the cells of a run share.

    Attributes:
        registry: makes the components.
        store: checkpoints, measurements and records.
        splits: gives the loaded data of a dataset component.
        device: where everything runs.
        listener: is told what happens.
        fresh: ignore checkpoints and measurements of earlier runs.
        stop: is asked after each step of training and before each pass through the model in evaluation.
        trained: the model at hand, by its id.
    """

    registry: Registry
    store: RunStore
    splits: Callable[[Component], DatasetSplits]
    device: torch.device
    listener: Listener = ignore
    fresh: bool = False
    stop: StopRequest = field(default_factory=StopRequest)
    trained: dict[str, TrainedModel] = field(default_factory=dict)


def describe_failure(error: Exception) -> str:
    """What went wrong with a cell, in one line: the message, after the type of error where that is not one of ours."""
    message = " ".join(str(error).split())
    if isinstance(error, BenchbenchError) and message:
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def train_cell(cell: Cell, bench: Workbench) -> TrainedModel:
    """The trained model of a cell: from this run, from its checkpoint, or trained now."""
    spec = cell.training
    if spec.model_id in bench.trained:
        return bench.trained[spec.model_id]
    splits = bench.splits(spec.dataset)
    chosen = training_examples(cell, splits)
    defense: Any = bench.registry.make(spec.defense)
    model = build_model(cell, splits, bench.registry).to(bench.device)
    if is_fitted(defense, splits):
        trained = fit_model(defense, model, chosen.examples, cell, splits)
    else:
        job = TrainingJob(
            model=model,
            defense=defense,
            examples=chosen.examples,
            rows=chosen.indices,
            threat=spec.threat,
            recipe=spec.recipe,
            seed=spec.seed,
            device=bench.device,
        )
        checkpoint = Checkpoint(bench.store.root / "models" / f"{spec.model_id}.safetensors", spec.model_id)
        if bench.fresh:
            checkpoint.path.unlink(missing_ok=True)
        trained = train(job, checkpoint=checkpoint, listener=bench.listener, stop=bench.stop)
    bench.trained.clear()  # one model at a time: cells of a model are adjacent
    bench.trained[spec.model_id] = trained
    return trained


def evaluate_cell(cell: Cell, model: nn.Module, bench: Workbench) -> Outcome:
    """Attack and measure a trained model."""
    spec, splits = cell.evaluation, bench.splits(cell.training.dataset)
    seen = crop_to(splits.train, splits.test.inputs.shape[1:])
    train_set = subset(seen, spec.n_train_evaluated, "train")
    test_set = subset(splits.test, spec.n_test, "test")
    attack: Any = bench.registry.make(spec.attack)
    metrics: Any = {metric.name: bench.registry.make(metric) for metric in spec.metrics}
    if splits.task == "regression":
        return evaluate_regression(
            model,
            train=train_set.examples,
            test=test_set.examples,
            threat=cell.training.threat,
            attack=attack,
            attack_name=spec.attack.name,
            metrics=metrics,
            seed=cell.training.seed,
            device=bench.device,
        )

    def within(batch_size: int) -> Outcome:
        return evaluate(
            model,
            train=train_set.examples,
            test=test_set.examples,
            train_rows=train_set.indices,
            test_rows=test_set.indices,
            classes=len(splits.classes),
            threat=cell.training.threat,
            attack=attack,
            attack_name=spec.attack.name,
            metrics=metrics,
            seed=cell.training.seed,
            device=bench.device,
            batch_size=batch_size,
            listener=_stoppable(bench),
            cache=None if bench.fresh else _ModelMeasurements(bench.store, cell),
            precision=spec.precision,
        )

    whole = default_batch_size(bench.device)
    with leaving(model, bench.stop):
        outcome, size = compute_within_memory(within, whole, lambda said: bench.listener(Note(message=f"  {said}")))
    noted = {"evaluation_batch_size": float(size)} if size < whole else {}
    return dataclasses.replace(outcome, values={**outcome.values, **noted})


def _stoppable(bench: Workbench) -> Listener:
    def listen(event: Event) -> None:
        bench.listener(event)
        bench.stop.check()

    return listen


def record_cell(cell: Cell, trained: TrainedModel, outcome: Outcome, bench: Workbench) -> Row:
    """Write the row, the per-example outcomes and the adversarial images of a cell."""
    noted = {"training_part_size": float(trained.part_size)} if trained.part_size else {}
    row = measured_row(
        cell,
        values={**outcome.values, **noted},
        per_example=outcome.per_example,
        flags=outcome.flags,
        provenance=_provenance(cell, bench, trained, outcome),
    )
    recorded = bench.store.write_cell(row, outcomes=outcome.per_example, witnesses=outcome.witnesses)
    _ModelMeasurements(bench.store, cell).finish()
    return recorded


def record_failure(cell: Cell, error: Exception, bench: Workbench) -> str:
    """Record that a cell raised; returns what is said about it."""
    message, refused = describe_failure(error), isinstance(error, (ContractError, DataError))
    bench.store.write_cell(failed_row(cell, message, provenance=_provenance(cell, bench), refused=refused))
    return message


def training_examples(cell: Cell, splits: DatasetSplits) -> Subset:
    """The examples that a cell trains on; the proof of concept also sees the test set."""
    chosen = subset(splits.train, cell.training.n_train, "train")
    if not cell.training.recipe.augmentation.crop:
        cropped = crop_to(chosen.examples, splits.input_shape)
        chosen = Subset(examples=cropped, indices=chosen.indices)
    if cell.training.trained_on == "train":
        return chosen
    seen = subset(splits.test, cell.evaluation.n_test, "test")
    return Subset(
        examples=Examples(
            inputs=torch.cat([chosen.examples.inputs, seen.examples.inputs]),
            labels=torch.cat([chosen.examples.labels, seen.examples.labels]),
        ),
        indices=torch.cat([chosen.indices, seen.indices + len(splits.train)]),
    )


def build_model(cell: Cell, splits: DatasetSplits, registry: Registry) -> nn.Module:
    """A freshly initialised network; its weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(cell.training.seed, "initialisation"))
        model = registry.make(cell.training.architecture, input_shape=splits.input_shape, classes=len(splits.classes))
    if not isinstance(model, nn.Module):
        raise ContractError(
            f"architecture {cell.training.architecture.name!r} made a {type(model).__name__}, expected: nn.Module"
        )
    return model


def describe_cell(cell: Cell) -> str:
    """A cell in a few words, for instance ``mnist cnn2 trades (beta=6), pgd-10, seed 0``."""
    attack = cell.evaluation.attack
    return f"{describe_model(cell)}, {attack_label(attack.name, attack.options)}, seed {cell.training.seed}"


def describe_model(cell: Cell) -> str:
    """The model of a cell in a few words, for instance ``mnist cnn2 trades (beta=6)``."""
    training = cell.training
    defense = short_label(training.defense.name, training.defense.options)
    return f"{training.dataset.name} {training.architecture.name} {defense}"


class _ModelMeasurements:
    """The evaluation's cache. What depends on the model alone is shared by the cells of a model, whatever their attack."""

    def __init__(self, store: RunStore, cell: Cell) -> None:
        self._measurements = store.measurements
        everything = canonical({"model": cell.training.model_id, "evaluation": cell.evaluation, "parts": PARTS})
        self._attacked = digest(everything)
        del everything["evaluation"]["attack"]
        self._alone = digest(everything)

    def get(self, key: str) -> dict[str, torch.Tensor] | None:
        return self._measurements.get(f"{self._alone}/{key}") or self._measurements.get(f"{self._attacked}/{key}")

    def put(self, key: str, value: dict[str, torch.Tensor]) -> None:
        scope = self._attacked if value[ATTACKED] else self._alone
        self._measurements.put(f"{scope}/{key}", value)

    def finish(self) -> None:
        """Drop what only an interrupted evaluation needs."""
        self._measurements.discard(self._attacked)


def _provenance(
    cell: Cell, bench: Workbench, trained: TrainedModel | None = None, outcome: Outcome | None = None
) -> Provenance:
    return Provenance(
        precision=_precision(trained.model, cell) if trained else cell.evaluation.precision,
        device=provenance.describe_device(bench.device),
        versions=provenance.versions(),
        git_commit=provenance.git_commit() or "",
        train_seconds=trained.seconds if trained else None,
        evaluate_seconds=outcome.seconds if outcome else None,
        peak_memory_bytes=provenance.peak_memory_bytes(bench.device),
        queries=outcome.queries.get("test_forward") if outcome else None,
    )


def _precision(model: nn.Module, cell: Cell) -> str:
    """What attacks search in: the evaluation's choice, except for regressions, which are solved in float64."""
    doubled = any(parameter.dtype == torch.float64 for parameter in model.parameters())
    return "float64" if doubled else cell.evaluation.precision
