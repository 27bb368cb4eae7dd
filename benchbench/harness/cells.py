"""Trains a cell's model, and records its row or its failure."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from weakref import WeakValueDictionary

import torch
from torch import nn

from benchbench.cell.model import Cell, TrainingSpec, to_json
from benchbench.contract import DatasetSplits, Examples, derive_seed
from benchbench.contract.training import AnyDefense
from benchbench.data import Subset, crop_to, subset
from benchbench.errors import (
    PLUGIN_FAULTS,
    BenchbenchError,
    ContractError,
    DataError,
    RankError,
    StorageError,
    TrainingError,
    UnknownNameError,
)
from benchbench.evaluation import Outcome
from benchbench.events import Note
from benchbench.harness.evaluating import evaluate_cell, measurements_of
from benchbench.harness.fitting import fit_model, training_threat, trains_in_steps
from benchbench.harness.preparing import prepare
from benchbench.harness.sharing import EvaluationOverError
from benchbench.harness.succession import give_up, stored_model, succeed, training_checkpoint
from benchbench.harness.workbench import Workbench
from benchbench.leaderboard.names import offered_label
from benchbench.ranks.group import Ranks
from benchbench.records import Provenance, Row, RunStore, failed_row, measured_row, provenance
from benchbench.registry import Registry
from benchbench.training import Checkpoint, TrainedModel, TrainingJob, train
from benchbench.training.checkpoint import weights_digest
from benchbench.training.shared_layers import sharing_obstacle

_log = logging.getLogger(__name__)
_HANDED_OUT: WeakValueDictionary[int, nn.Parameter] = WeakValueDictionary()  # parameters of live networks, by id


def describe_failure(error: BaseException) -> str:
    """The error of a cell in one line: its message, after its type if it is not benchbench's."""
    if isinstance(error, BenchbenchError) and error.message:
        return " ".join(": ".join(filter(None, (error.message, error.hint))).split())
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def checkpoint_times(cells: Iterable[Cell], store: RunStore) -> dict[str, int | None]:
    """When the checkpoints of models were written, by model id; None if there is none."""
    models = dict.fromkeys(cell.training.model_id for cell in cells)
    return {model_id: Checkpoint(store.checkpoint_path(model_id), model_id).time() for model_id in models}


def train_cell(cell: Cell, bench: Workbench) -> TrainedModel:
    """The trained model: of this run, its checkpoint, or trained now; peak memory counts now."""
    provenance.forget_peak_memory(bench.device)
    spec = cell.training
    if spec.model_id in bench.trained:
        return bench.trained[spec.model_id]
    trained = _given(cell, bench) if spec.weights else _train_or_fit(cell, bench)
    bench.trained.clear()  # one model is enough: cells of a model are adjacent
    bench.trained[spec.model_id] = trained
    return trained


def _given(cell: Cell, bench: Workbench) -> TrainedModel:
    if bench.given is None:
        raise TrainingError(f"model {cell.training.model_id} was trained elsewhere: it cannot be trained here")
    return TrainedModel(model=bench.given(cell), history=(), seconds=None)


def _train_or_fit(cell: Cell, bench: Workbench) -> TrainedModel:
    splits = bench.splits(cell.training.dataset)
    defense = bench.registry.make("defense", cell.training.defense)
    job = training_job(cell, defense, splits, bench.registry, bench.device)
    _prepare(cell, job, bench)
    return _train(cell, job, bench) if trains_in_steps(defense, splits) else fit_model(cell, job, splits)


def _prepare(cell: Cell, job: TrainingJob, bench: Workbench) -> None:
    try:
        prepare(cell, job, bench, lambda one: build_model(one, bench.splits(one.training.dataset), bench.registry))
    except PLUGIN_FAULTS as error:
        if bench.ranks is None or bench.ranks.leads:  # the others wait for an order, and only for that
            raise
        raise bench.ranks.failed(describe_failure(error)) from error


def training_job(
    cell: Cell, defense: AnyDefense, splits: DatasetSplits, registry: Registry, device: torch.device
) -> TrainingJob:
    """The training of a cell's model, or what it is fitted to."""
    chosen, rows, spec = training_examples(cell, splits), torch.arange(0), cell.training
    if spec.n_validation:
        both = subset(splits.train, spec.n_train + spec.n_validation, "train").indices
        rows = both[~torch.isin(both, chosen.indices)]
    cropped = crop_to(splits.train, splits.input_shape)
    held_out = Examples(inputs=cropped.inputs[rows], labels=cropped.labels[rows])
    return TrainingJob(
        model=build_model(cell, splits, registry).to(device),
        defense=defense,
        examples=chosen.examples,
        rows=chosen.indices,
        threat=training_threat(cell.training, splits),
        recipe=cell.training.recipe,
        seed=cell.training.seed,
        device=device,
        validation=held_out if spec.n_validation else None,
        validation_rows=rows,
        scores_robust=spec.threat is not None,
        classes=len(splits.classes),
    )


def _train(cell: Cell, job: TrainingJob, bench: Workbench) -> TrainedModel:
    leads = bench.ranks is None or bench.ranks.leads
    checkpoint = training_checkpoint(cell.training.model_id, bench) if leads else None
    ranks = _companions(cell, job, bench)
    try:
        return train(job, checkpoint=checkpoint, listener=bench.listener, stop=bench.stop, ranks=ranks)
    except RankError:
        raise  # on every rank
    except PLUGIN_FAULTS as error:
        if checkpoint is not None and not isinstance(error, StorageError):
            give_up(checkpoint, bench)
        if ranks is None or isinstance(error, TrainingError):  # every rank raises a TrainingError
            raise
        raise ranks.failed(describe_failure(error)) from error


def _companions(cell: Cell, job: TrainingJob, bench: Workbench) -> Ranks | None:
    """The ranks that train a model together with this one; the leading rank orders them to."""
    ranks = bench.ranks
    if ranks is None or not ranks.leads:
        return ranks
    obstacle = sharing_obstacle(job.model, job.defense)
    if obstacle:
        bench.listener(Note(message=f"  trained by one of {ranks.count} ranks: {obstacle}"))
        return None
    ranks.order({"train": to_json(cell)})
    return ranks


def help_with(cell: Cell, bench: Workbench) -> None:
    """Compute shards of a cell's evaluation that another process has opened, until it is over.

    Errors are only logged: helping is optional, and the owner reports what is wrong with the cell.
    """
    try:
        model = _stored_model(cell, bench)
        if model is not None:
            evaluate_cell(cell, model, bench, helping=True)
    except EvaluationOverError:
        pass
    except PLUGIN_FAULTS:
        take_back(cell, bench)
        _log.debug("no help with cell %s", cell.cell_id, exc_info=True)


def _stored_model(cell: Cell, bench: Workbench) -> nn.Module | None:
    """The trained model of a cell from its checkpoint; None if that is missing or unfinished."""
    spec = cell.training
    if spec.model_id in bench.trained:
        return bench.trained[spec.model_id].model
    splits = bench.splits(spec.dataset)
    if not trains_in_steps(bench.registry.make("defense", spec.defense), splits):
        return train_cell(cell, bench).model
    stored = stored_model(spec.model_id, bench)
    if stored is None or stored.position.epoch < spec.recipe.epochs:
        return None
    model = build_model(cell, splits, bench.registry)
    model.load_state_dict(stored.state)
    return model.to(bench.device).eval()


def take_back(cell: Cell, bench: Workbench) -> None:
    """Drop the model and data lent to a failed cell, whose plugins may have changed them."""
    bench.trained.clear()
    bench.forget(cell.training.dataset)


def record_cell(cell: Cell, trained: TrainedModel, outcome: Outcome, bench: Workbench) -> Row:
    """Write the row, the per-example outcomes and the adversarial images of a cell."""
    noted = {"training_part_size": float(trained.part_size)} if trained.part_size else {}
    row = measured_row(
        cell,
        values={**outcome.values, **noted},
        per_example=outcome.per_example,
        notes=outcome.notes,
        flags=outcome.flags,
        diagnostics=outcome.diagnostics,
        provenance=_provenance(cell, bench, trained, outcome),
    )
    model_id, weights = cell.training.model_id, weights_digest(trained.model.state_dict())
    if bench.fresh:
        succeed(model_id, weights, bench.store)
    recorded = bench.store.write_cell(row, outcomes=outcome.per_example, witnesses=outcome.witnesses, weights=weights)
    measurements_of(cell, bench).finish()
    return recorded


def record_failure(cell: Cell, error: BaseException, bench: Workbench) -> str:
    """Record that a cell raised, drop what broke a contract, and return the message."""
    message, refused = describe_failure(error), isinstance(error, (ContractError, DataError))
    take_back(cell, bench)
    if isinstance(error, ContractError):
        measurements_of(cell, bench).forget()
    bench.store.write_cell(failed_row(cell, message, provenance=_provenance(cell, bench), refused=refused))
    return message


def training_examples(cell: Cell, splits: DatasetSplits) -> Subset:
    """The training examples of a cell; those of the proof of concept include the test set."""
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
    """A freshly initialised network, whose weights depend only on the seed."""
    return initialise(cell.training, splits.input_shape, len(splits.classes), registry)


def initialise(spec: TrainingSpec, input_shape: tuple[int, ...], classes: int, registry: Registry) -> nn.Module:
    """Like `build_model`, for inputs of a shape and a number of classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(spec.seed, "initialisation"))
        model = registry.make("architecture", spec.architecture, input_shape=input_shape, classes=classes)
    if not isinstance(model, nn.Module):
        raise ContractError(
            f"architecture {spec.architecture.name!r} made a {type(model).__name__}, expected: nn.Module"
        )
    parameters = {id(parameter): parameter for parameter in model.parameters()}
    if any(_HANDED_OUT.get(key) is parameter for key, parameter in parameters.items()):
        raise ContractError(
            f"architecture {spec.architecture.name!r} made a network of parameters that another one has"
        )
    _HANDED_OUT.update(parameters)
    return model


def _provenance(
    cell: Cell, bench: Workbench, trained: TrainedModel | None = None, outcome: Outcome | None = None
) -> Provenance:
    defense, label = cell.training.defense, ""
    with suppress(UnknownNameError):  # without the plugin, or of a model that was trained elsewhere
        label = offered_label(bench.registry.get("defense", defense.name).offer, defense.options)
    return Provenance(
        defense_label=label,
        precision=precision_of(trained.model, cell) if trained else cell.evaluation.precision,
        # ranks that share only the evaluation change no bit
        device=provenance.describe_device(bench.device)
        + (f" x {trained.ranks} ranks" if trained and trained.ranks > 1 else ""),
        versions=provenance.versions(),
        git_commit=provenance.git_commit() or "",
        train_seconds=trained.seconds if trained else None,
        evaluate_seconds=outcome.seconds if outcome else None,
        peak_memory_bytes=provenance.peak_memory_bytes(bench.device),
        queries=outcome.queries.get("test_forward") if outcome else None,
        gradient_queries=outcome.queries.get("test_gradient") if outcome else None,
    )


def precision_of(model: nn.Module, cell: Cell) -> str:
    """Number format of an evaluation; regressions are solved, and attacked, in float64."""
    doubled = any(parameter.dtype == torch.float64 for parameter in model.parameters())
    return "float64" if doubled else cell.evaluation.precision
