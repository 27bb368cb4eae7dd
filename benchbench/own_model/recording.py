"""Record a model that was trained elsewhere: rows like any other, whose training is given by the weights."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchbench.cell.model import OWN_PROFILE, OWN_PROTOCOL, Cell, Component, EvaluationSpec, TrainingSpec, given_model
from benchbench.contract.columns import FILLABLE
from benchbench.data import LoadedDataset, subset
from benchbench.errors import ContractError, StorageError, UsageError
from benchbench.evaluation import Outcome
from benchbench.events import Listener, Note, ignore
from benchbench.harness.scheduling import run_cells
from benchbench.harness.workbench import Workbench
from benchbench.kernels.inputs import as_model_input
from benchbench.kernels.sketches import sketch
from benchbench.leaderboard.files import read_rows
from benchbench.leaderboard.rebuilding import rebuild
from benchbench.own_model.architectures import fits, is_registered
from benchbench.own_model.cards import Card, read_card
from benchbench.own_model.guests import Classifier, adapt, default_float32
from benchbench.own_model.questions import Questions, labels_of
from benchbench.own_model.report import ModelReport, make_report
from benchbench.records import RunStore, is_finished
from benchbench.records.row import PATTERNS
from benchbench.registry import Registry
from benchbench.settings import AnyPath, Folders, check_writable
from benchbench.training.checkpoint import Position, read_checkpoint, weights_digest, write_checkpoint

_SUFFIX = ".parquet"


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where a model's rows go, and what they say of it."""

    board: Path  # the leaderboard, whose name is that of the rows' suite
    runs: Path  # folder of records and weights
    architecture: Component  # identifies the network, together with its weights
    card: str | None = None  # what the model's authors state, from `benchbench.records.cards.card_text`


def find_destination(
    record: AnyPath, folders: Folders, *, architecture: Component, card: Card | None = None
) -> Destination:
    """The leaderboard of a name or a path; UsageError if no row can be added to it."""
    board = Path(record) if str(record).endswith(_SUFFIX) else folders.leaderboard(str(record))
    if not re.fullmatch(PATTERNS["suite"], board.stem):
        raise UsageError(f"{board.stem!r} is no name of a leaderboard", hint="letters, digits, and . _ - between them")
    stated = None if card is None else read_card(card)
    rows = read_rows(board) if board.exists() else ()
    if rows and rows[0].suite != board.stem:
        raise UsageError(f"{board} holds rows of suite {rows[0].suite!r}", hint=f"call it {rows[0].suite}{_SUFFIX}")
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
    listener: Listener = ignore,
) -> tuple[ModelReport, ...]:
    """Evaluate a model, and write a row for each radius and attack; return a report for each radius.

    What is recorded already is not computed again. Arguments are those of `evaluate`, resolved.

    Raises:
        UsageError: as `evaluate`, or the model has no weights, or is of another architecture.
        ContractError: the model, an attack or a metric broke its contract.
    """
    asked = questions.checked(dataset.name, loaded.splits, registry)
    for message in loaded.splits.notes:
        listener(Note(message=message))
    test = subset(loaded.splits.test, asked.n_test or len(loaded.splits.test), "test")
    given = _Given(model, as_model_input(test.examples.inputs[:2].to(device)), classes=len(loaded.splits.classes))
    _check_architecture(to.architecture, given.state, loaded, registry)
    spec = given_model(
        dataset=dataset,
        dataset_digest=loaded.digest,
        architecture=to.architecture,
        weights=weights_digest(given.state),
    )
    store = RunStore(to.runs)
    _keep_weights(spec, given.state, store)
    cells = _cells(spec, asked, len(test.indices), len(loaded.splits.train), suite=to.board.stem)
    bench = Workbench(
        registry=registry,
        store=store,
        splits=lambda _: loaded.splits,
        device=device,
        listener=listener,
        given=lambda _: given.restored(),
    )
    tally = run_cells([cell for cell in cells if not is_finished(store, cell.cell_id)], bench)
    _state_card(cells, to.card, store)
    rebuild(to.board, store, to.board.stem)
    if tally.failures:
        raise ContractError("; ".join(dict.fromkeys(failure.error for failure in tally.failures)))
    return tuple(_reports(cells, asked, store))


class _Given:
    """A model as attacks can use it, with a copy of its weights."""

    def __init__(self, model: Classifier, images: Tensor, *, classes: int) -> None:
        if not isinstance(model, nn.Module):
            raise UsageError("a function has no weights that identify it", hint="pass a module to record its rows")
        self._model = model.to(images.device)
        self._guest = adapt(model, images, classes=classes)
        tensors = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
        self.state = {name: value.detach().clone() for name, value in tensors.items()}
        if not self.state:
            raise UsageError("the model has no weights that identify it")

    def restored(self) -> nn.Module:
        """The model with its weights, which a plugin that failed may have changed."""
        self._model.load_state_dict(self.state, strict=False)
        return self._guest


def _check_architecture(
    architecture: Component, state: Mapping[str, Tensor], loaded: LoadedDataset, registry: Registry
) -> None:
    """Raise UsageError if a registered architecture is not the model's."""
    if not is_registered(architecture):
        return
    shape, classes = loaded.splits.input_shape, len(loaded.splits.classes)
    outline = sketch(lambda: registry.make("architecture", architecture, input_shape=shape, classes=classes))
    if outline is not None and not fits(outline, state):
        raise UsageError(
            f"the model's weights are not those of architecture {architecture.name!r}",
            hint="name its own, FILE.py:callable, or leave it out",
        )


def _keep_weights(spec: TrainingSpec, state: Mapping[str, Tensor], store: RunStore) -> None:
    """Write the weights as a checkpoint without training, unless it is there."""
    path = store.checkpoint_path(spec.model_id)
    with suppress(StorageError):  # damaged: written again
        if (stored := read_checkpoint(path)) is not None and stored.intact:
            return
    tensors = {f"model.{name}": value.cpu().contiguous() for name, value in state.items()}
    write_checkpoint(path, spec.model_id, tensors, Position())


def _cells(spec: TrainingSpec, asked: Questions, n_test: int, n_train: int, *, suite: str) -> list[Cell]:
    """A cell for each radius and attack; metrics get as many training examples as test examples."""
    return [
        Cell(
            suite=suite,
            profile=OWN_PROFILE,
            protocol=OWN_PROTOCOL,
            experiment=spec.dataset.name,
            training=spec,
            evaluation=EvaluationSpec(
                attack=attack,
                metrics=asked.metrics,
                threat=threat,
                n_test=n_test,
                n_train_evaluated=min(n_train, n_test) if asked.metrics else 0,
                checkpoint_selection=None,
                seed=asked.seed,
            ),
        )
        for threat in asked.threats
        for attack in asked.attacks
    ]


def _state_card(cells: Sequence[Cell], card: str | None, store: RunStore) -> None:
    """Give the finished rows of the cells this card."""
    for row in (store.read_cell(cell.cell_id) for cell in cells if card is not None):
        if row is not None and row.status == "ok" and row.card != card:
            store.write_row(dataclasses.replace(row, card=card), weights=store.weights_of(row.cell_id))


def _reports(cells: Sequence[Cell], asked: Questions, store: RunStore) -> Iterator[ModelReport]:
    """A report for each radius, from the records."""
    labels = labels_of(asked.attacks)
    for start in range(0, len(cells), len(labels)):
        found = dict(zip(labels, cells[start : start + len(labels)]))
        first = cells[start]
        yield make_report(
            first.training.dataset.name,
            first.training.dataset_digest,
            first.evaluation.threat,
            {label: _outcome(cell, store) for label, cell in found.items()},
            {label: cell.evaluation.attack for label, cell in found.items()},
            {label: cell.cell_id for label, cell in found.items()},
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
    )
