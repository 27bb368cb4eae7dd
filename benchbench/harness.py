"""The harness: train each cell's model, evaluate it, record the row; failures are recorded and the rest goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from benchbench import provenance
from benchbench.cell import Cell, Component, canonical, digest
from benchbench.clock import Clock
from benchbench.contract import DatasetSplits, Examples, derive_seed
from benchbench.data import Subset, crop_to, subset
from benchbench.determinism import deterministic
from benchbench.errors import BenchbenchError, ContractError, DataError, StorageError
from benchbench.evaluation import ATTACKED, Outcome, evaluate, evaluate_regression
from benchbench.events import CellFailed, CellFinished, CellStarted, Listener, ignore
from benchbench.fitting import fit_model, is_fitted
from benchbench.leaderboard.names import short_label
from benchbench.records import Provenance, Row, RunStore, failed_row, measured_row
from benchbench.registry import Registry
from benchbench.training import Checkpoint, TrainedModel, TrainingJob, train

_log = logging.getLogger(__name__)
PRECISION = "float32"
PARTS = 2  # version of the cached parts; version 1 shared what the attack did between attacks
SHOWN = ("test_accuracy", "adv_test_accuracy", "test_lipschitz", "test_mse", "adv_test_mse")


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
    """

    registry: Registry
    store: RunStore
    splits: Callable[[Component], DatasetSplits]
    device: torch.device
    listener: Listener = ignore
    fresh: bool = False
    trained: dict[str, TrainedModel] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many cells a run finished, and which ones failed."""

    finished: int = 0
    failures: tuple[CellFailed, ...] = ()


def run_cells(
    cells: tuple[Cell, ...],
    bench: Workbench,
    *,
    estimates: Mapping[str, float] | None = None,
    recorded: Callable[[], None] = lambda: None,
) -> Tally:
    """Compute cells one after the other.

    Args:
        cells: in the order to compute them; cells of one model adjacent, so that it is loaded once.
        bench: what they share.
        estimates: predicted seconds by cell id, for the time left.
        recorded: called after each recorded cell.

    Raises:
        StorageError: records cannot be written; going on would lose work.
    """
    failures: list[CellFailed] = []
    clock = Clock(cells, estimates or {})
    with deterministic(bench.device):
        for number, cell in enumerate(cells, start=1):
            label = describe_cell(cell)
            left = clock.seconds_left(number - 1)
            bench.listener(
                CellStarted(number=number, total=len(cells), cell_id=cell.cell_id, label=label, seconds_left=left)
            )
            failure = _attempt(cell, bench, label)
            if failure is not None:
                failures.append(failure)
                bench.listener(failure)
            recorded()
    return Tally(finished=len(cells) - len(failures), failures=tuple(failures))


def _attempt(cell: Cell, bench: Workbench, label: str) -> CellFailed | None:
    """Compute and record one cell; a cell that raises is recorded as failed and tried again by the next run."""
    started = time.monotonic()
    try:
        trained = train_cell(cell, bench)
        outcome = evaluate_cell(cell, trained.model, bench)
        row = record_cell(cell, trained, outcome, bench)
    except StorageError:
        raise
    except Exception as error:
        _log.debug("cell %s failed", cell.cell_id, exc_info=True)
        message = describe_failure(error)
        refused = isinstance(error, (ContractError, DataError))
        bench.store.write_cell(failed_row(cell, message, provenance=_provenance(bench), refused=refused))
        return CellFailed(cell_id=cell.cell_id, label=label, error=message)
    values = {name: getattr(row, name) for name in SHOWN if getattr(row, name) is not None}
    seconds = time.monotonic() - started
    bench.listener(CellFinished(cell_id=cell.cell_id, label=label, seconds=seconds, values=values))
    return None


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
        trained = train(job, checkpoint=checkpoint, listener=bench.listener)
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
        listener=bench.listener,
        cache=None if bench.fresh else _ModelMeasurements(bench.store, cell),
    )


def record_cell(cell: Cell, trained: TrainedModel, outcome: Outcome, bench: Workbench) -> Row:
    """Write the row, the per-example outcomes and the adversarial images of a cell."""
    row = measured_row(
        cell,
        values=outcome.values,
        per_example=outcome.per_example,
        flags=outcome.flags,
        provenance=_provenance(bench, trained, outcome),
    )
    recorded = bench.store.write_cell(row, outcomes=outcome.per_example, witnesses=outcome.witnesses)
    _ModelMeasurements(bench.store, cell).finish()
    return recorded


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
    training = cell.training
    defense = short_label(training.defense.name, training.defense.options)
    model = f"{training.dataset.name} {training.architecture.name} {defense}"
    return f"{model}, {cell.evaluation.attack.name}, seed {training.seed}"


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


def _provenance(bench: Workbench, trained: TrainedModel | None = None, outcome: Outcome | None = None) -> Provenance:
    return Provenance(
        precision=_precision(trained.model) if trained else PRECISION,
        device=provenance.describe_device(bench.device),
        versions=provenance.versions(),
        git_commit=provenance.git_commit() or "",
        train_seconds=trained.seconds if trained else None,
        evaluate_seconds=outcome.seconds if outcome else None,
        peak_memory_bytes=provenance.peak_memory_bytes(bench.device),
        queries=outcome.queries.get("test_forward") if outcome else None,
    )


def _precision(model: nn.Module) -> str:
    """What a model computes in: that of its parameters, for regressions are solved in float64."""
    doubled = any(parameter.dtype == torch.float64 for parameter in model.parameters())
    return "float64" if doubled else PRECISION
