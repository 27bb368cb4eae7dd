"""Record a model that was trained elsewhere: rows with weights in place of a training."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchbench.cell.filters import parse_options
from benchbench.cell.model import OWN_PROFILE, OWN_PROTOCOL, Cell, Component, EvaluationSpec, TrainingSpec, given_model
from benchbench.contract.columns import FILLABLE
from benchbench.data import LoadedDataset
from benchbench.errors import ContractError, StorageError, UsageError
from benchbench.evaluation import Outcome
from benchbench.events import Listener
from benchbench.harness.scheduling import run_cells
from benchbench.harness.workbench import Workbench
from benchbench.kernels.sketches import sketch
from benchbench.leaderboard.files import read_rows
from benchbench.leaderboard.identity import grouped
from benchbench.leaderboard.rebuilding import rebuild
from benchbench.own_model.architectures import Architecture, fits, is_registered
from benchbench.own_model.cards import Card, read_card
from benchbench.own_model.guests import Classifier, default_float32
from benchbench.own_model.questions import Prepared, Questions, labels_of
from benchbench.own_model.report import ModelReport, make_report
from benchbench.records import RunStore, is_finished
from benchbench.records.row import PATTERNS
from benchbench.registry import Registry
from benchbench.settings import AnyPath, Folders, check_writable
from benchbench.training.checkpoint import Position, read_checkpoint, weights_digest, write_checkpoint


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where a model's rows go, and what they say of it."""

    board: Path  # the leaderboard, whose name is that of the rows' suite
    runs: Path  # folder of records and weights
    architecture: Component  # identifies the network, together with its weights
    card: str | None = None  # what the model's authors state


def find_destination(
    record: AnyPath, folders: Folders, *, architecture: Component, card: Card | None = None
) -> Destination:
    """The leaderboard of a name or a path; UsageError if no row can be added to it."""
    board = folders.board(str(record))
    if not re.fullmatch(PATTERNS["suite"], board.stem):
        raise UsageError(f"{board.stem!r} is no name of a leaderboard", hint="letters, digits, and . _ - between them")
    stated = None if card is None else read_card(card)
    rows = read_rows(board) if board.exists() else ()
    if rows and rows[0].suite != board.stem:
        raise UsageError(f"{board} holds rows of suite {rows[0].suite!r}", hint="call it like its suite")
    for folder in (folders.runs, board.parent):
        check_writable(folder)
    return Destination(board=board, runs=folders.runs, architecture=architecture, card=stated)


@default_float32()
def record_on(
    model: Classifier,
    dataset: Component,
    loaded: LoadedDataset,
    questions: Questions,
    *,
    to: Destination,
    registry: Registry,
    device: torch.device,
    listener: Listener,
) -> tuple[ModelReport, ...]:
    """Evaluate a model, write a row for each radius and attack, return a report for each radius.

    What is recorded already is not computed again. Arguments and errors are those of `evaluate`.
    """
    if not isinstance(model, nn.Module) or not model.state_dict():
        raise UsageError("the model has no weights that identify it", hint="only modules with weights are recorded")
    ready = questions.prepare(model, dataset.name, loaded, registry, device, listener)
    state = {name: value.detach().clone() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    spec = given_model(
        dataset=dataset, dataset_digest=loaded.digest, architecture=to.architecture, weights=weights_digest(state)
    )
    _check_architecture(to.architecture, state, loaded, registry)
    store, cells = RunStore(to.runs), _cells(spec, ready, len(loaded.splits.train), suite=to.board.stem)
    _keep_weights(spec, state, store)

    def restored(_: Cell) -> nn.Module:
        model.load_state_dict(state, strict=False)  # a plugin that failed may have changed it
        return ready.model

    bench = Workbench(
        registry=registry, store=store, splits=lambda _: loaded.splits, device=device, listener=listener, given=restored
    )
    for known in filter(None, (store.read_cell(cell.cell_id) for cell in cells)):
        store.require_witnesses(known.witnesses_digest)  # the report has them
    tally = run_cells([cell for cell in cells if not is_finished(store, cell.cell_id)], bench)
    for row in (store.read_cell(cell.cell_id) for cell in cells if to.card is not None):
        if row is not None and row.status == "ok" and row.card != to.card:
            store.write_row(dataclasses.replace(row, card=to.card), weights=store.weights_of(row.cell_id))
    rebuild(to.board, store, to.board.stem)
    if tally.failures:
        raise ContractError("; ".join(dict.fromkeys(failure.error for failure in tally.failures)))
    found = grouped(cells, lambda cell: cell.evaluation.threat).values()
    return tuple(ready.with_mistakes(_report(several, store), loaded, device) for several in found)


def _check_architecture(
    architecture: Component, state: Mapping[str, Tensor], loaded: LoadedDataset, registry: Registry
) -> None:
    shape, classes = loaded.splits.input_shape, len(loaded.splits.classes)
    network = Architecture(component=architecture)
    outline = sketch(lambda: network.make(registry, input_shape=shape, classes=classes))
    if is_registered(architecture) and outline is not None and not fits(outline, state):
        raise UsageError(f"the model's weights are not those of architecture {architecture.name!r}")


def _cells(spec: TrainingSpec, ready: Prepared, n_train: int, *, suite: str) -> list[Cell]:
    """A cell for each radius and attack; metrics get as many training examples as test examples."""
    questions, n_test = ready.questions, len(ready.test.indices)
    evaluations = (
        EvaluationSpec(
            attack=attack,
            metrics=questions.metrics,
            threat=threat,
            n_test=n_test,
            n_train_evaluated=min(n_train, n_test) if questions.metrics else 0,
            checkpoint_selection=None,
            seed=questions.seed,
        )
        for threat in questions.threats
        for attack in questions.attacks
    )
    label = {"suite": suite, "profile": OWN_PROFILE, "protocol": OWN_PROTOCOL, "experiment": spec.dataset.name}
    return [Cell(**label, training=spec, evaluation=evaluation) for evaluation in evaluations]


def _keep_weights(spec: TrainingSpec, state: Mapping[str, Tensor], store: RunStore) -> None:
    """Write the weights as a checkpoint without training, unless it is there."""
    path = store.checkpoint_path(spec.model_id)
    with suppress(StorageError):  # damaged: written again
        if (stored := read_checkpoint(path)) is not None and stored.intact:
            return
    tensors = {f"model.{name}": value.cpu().contiguous() for name, value in state.items()}
    write_checkpoint(path, spec.model_id, tensors, Position())


def _report(cells: list[Cell], store: RunStore) -> ModelReport:
    """The report of cells with one threat, from their records."""
    training, attacks = cells[0].training, [cell.evaluation.attack for cell in cells]
    labels = labels_of(attacks)
    return make_report(
        training.dataset.name,
        training.dataset_digest,
        cells[0].evaluation.threat,
        {label: _outcome(cell, store) for label, cell in zip(labels, cells)},
        dict(zip(labels, attacks)),
        {label: cell.cell_id for label, cell in zip(labels, cells)},
    )


def _outcome(cell: Cell, store: RunStore) -> Outcome:
    row = store.read_cell(cell.cell_id)
    outcomes = None if row is None else store.read_outcomes(row.outcomes_digest)
    witnesses = None if row is None else store.read_witnesses(row.witnesses_digest)
    if row is None or outcomes is None or witnesses is None:
        raise StorageError(f"the record of cell {cell.cell_id} has vanished", hint="repeat the command")
    columns = {name: value for name in FILLABLE if (value := getattr(row, name)) is not None}
    return Outcome(
        values={**columns, **row.extra},
        per_example={name: torch.from_numpy(column) for name, column in outcomes.items()},
        witnesses=torch.from_numpy(witnesses),
        flags=row.flags,
        diagnostics=row.diagnostics,
        queries={"test_forward": row.queries or 0},
        seconds=row.evaluate_seconds or 0.0,
        notes={name: str(note) for name, note in parse_options(row.notes).items()},
    )
