"""Recompute a recorded cell; report whether the results agree and what has changed since."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from benchbench.atomic import scratch_folder
from benchbench.cell.model import Cell
from benchbench.cell.reading import read_cell
from benchbench.checking.consistency import judge_suite
from benchbench.checking.evidence import Finding, UnavailableError, code_changes, evidence_folders, find_evidence
from benchbench.checking.given import load_given
from benchbench.contract import DataSource
from benchbench.errors import DataError, TrainingError, UsageError, counted, suggest
from benchbench.events import Listener, ignore
from benchbench.harness.evaluating import NOTED
from benchbench.harness.scheduling import run_cells
from benchbench.harness.workbench import Workbench
from benchbench.kernels.determinism import on_threads
from benchbench.leaderboard.files import read_rows
from benchbench.own_model.architectures import OwnCallable, find_callable
from benchbench.planning.datasets import DatasetLoader
from benchbench.records import Row, RunStore, checkpoint_name, provenance
from benchbench.registry import Registry, load_registry
from benchbench.settings import find_device, find_folders

Agreement = Literal["bit-identical", "within tolerance", "drifted"]
LEAST_PREFIX = 4
EXAMPLES_OF_TOLERANCE = 2.0  # examples that another order of sums may change
SHARE_OF_TOLERANCE = 0.01
RELATIVE_TOLERANCE = 0.02
_NOT_COMPARED = {  # what depends on machine, code and time, and what is compared in another way
    *("device", "versions", "git_commit", "train_seconds", "evaluate_seconds", "peak_memory_bytes"),
    *("card", "extra", *(f"extra.{name}" for name in NOTED), "configuration", "outcomes_digest", "witnesses_digest"),
}
_EXACT = (
    *("dropout", "epsilon", "train_epsilon", "seed", "n_train", "n_validation", "n_extra", "n_train_evaluated"),
    *("n_test", "epochs"),
)
_FRACTIONS = ("train_accuracy", "test_accuracy", "adv_train_accuracy", "adv_test_accuracy", "gap", "adv_gap")
_ENDS = tuple(f"{name}_{end}" for name in _FRACTIONS[:4] for end in ("low", "high"))


@dataclass(frozen=True, kw_only=True)
class ChangedValue:
    """A column, or ``extra.NAME``, as recorded and as recomputed; None if it was not measured."""

    column: str
    recorded: object
    now: object
    tolerated: bool


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """The comparison of a recomputed cell with its row."""

    cell_id: str
    # verdict: ``"bit-identical"``: all columns but those of the machine, the code and the time, per-example outcomes and
    # adversarial images are equal; ``"within tolerance"``: accuracies differ by no more than two examples or one hundredth
    # (ends of their intervals by twice that), other numbers by 2%; else ``"drifted"``
    verdict: Agreement
    differences: tuple[ChangedValue, ...]  # columns that are not equal
    unequal_files: tuple[str, ...]  # those of ``outcomes`` and ``witnesses`` whose content differs
    # changes: recorded and present value of what has changed: versions, code of components, device, commit, data
    changes: Mapping[str, tuple[str, str]]


def rerun(
    cell_id: str,
    *,
    data: Path | None = None,
    runs: Path | None = None,
    leaderboard: Path | None = None,
    device: str | None = None,
    download: bool = False,
    architecture: str | None = None,
    listener: Listener = ignore,
) -> Rerun:
    """Recompute a recorded cell from its row, in a temporary folder, with the same thread count.

    No finished cell with the id, or beginning of an id, or several, are a UsageError; a TrainingError if the cell fails now.
    The row is taken from the `leaderboard`, a Parquet file, or else from `runs`; None stands for the defaults of
    `benchbench.run`. A model that was trained elsewhere is evaluated again, never trained: a UsageError without its weights or
    its `architecture` (see `verify`), a DataError for other weights.
    """
    folders = find_folders(data=data, runs=runs)
    row = find_row(cell_id, folders.runs, leaderboard)
    source = folders.source(download=download)
    places = (folders.runs,) if leaderboard is None else evidence_folders(leaderboard, folders.runs)
    own = None if architecture is None else find_callable(architecture)
    return compute_again(row, load_registry(), source, find_device(device), listener, places=places, own=own)


def compute_again(
    row: Row,
    registry: Registry,
    source: DataSource,
    device: torch.device,
    listener: Listener,
    *,
    places: Sequence[Path] = (),
    own: OwnCallable | None = None,
) -> Rerun:
    """Recompute the cell of a row, whose weights may be in `places`; see `rerun`."""
    cell = read_cell(row.configuration)
    datasets = DatasetLoader(registry, source)
    loaded = datasets.load(cell.training.dataset)

    def given(cell: Cell) -> nn.Module:
        path = find_evidence(places, "models", checkpoint_name(cell.training.model_id))
        try:
            model, findings = load_given(cell, path, loaded.splits, registry=registry, own=own, device=device)
        except UnavailableError as error:
            raise UsageError(f"cell {cell.cell_id} cannot be evaluated again: {error}") from error
        if findings:
            raise DataError(f"cell {cell.cell_id} cannot be evaluated again: {findings[0]}")
        return model

    with scratch_folder("rerun") as folder:
        store = RunStore(folder)
        model = given(cell) if cell.training.weights else None
        bench = Workbench(
            registry=registry,
            store=store,
            splits=datasets.splits,
            forget=datasets.forget,
            device=device,
            listener=listener,
            given=None if model is None else lambda _: model,
        )
        with on_threads(provenance.stated_threads(row.device) if device.type == "cpu" else None):
            tally = run_cells((cell,), bench)
        if tally.failures:
            raise TrainingError(f"cell {row.cell_id} fails now: {tally.failures[0].error}")
        now = store.read_cell(cell.cell_id)
    if now is None:
        raise TrainingError(f"cell {row.cell_id} was recomputed, but its record has vanished")
    findings: list[Finding] = []
    if loaded.digest == cell.training.dataset_digest:
        judge_suite(cell, loaded.splits, registry, findings, [])
    compared = compare(row, now, data_digest=loaded.digest, findings=findings)
    return dataclasses.replace(compared, changes={**code_changes(cell, registry), **compared.changes})


def compare(row: Row, now: Row, *, data_digest: str, findings: Sequence[Finding] = ()) -> Rerun:
    """Compare a row with one recomputed on data of a digest; `findings` differ, too."""
    others = (ChangedValue(column="configuration", recorded=str(f), now="", tolerated=False) for f in findings)
    differences = (*_differences(row, now), *others)
    pairs = ((kind, f"{kind}_digest") for kind in ("outcomes", "witnesses"))
    unequal = [kind for kind, name in pairs if getattr(row, name) != getattr(now, name)]
    verdict: Agreement = "bit-identical"
    if differences or unequal:
        verdict = "within tolerance" if all(difference.tolerated for difference in differences) else "drifted"
    return Rerun(
        cell_id=row.cell_id,
        verdict=verdict,
        differences=differences,
        unequal_files=tuple(unequal),
        changes=_changes(row, now, data_digest),
    )


def find_row(cell_id: str, runs: Path, leaderboard: Path | None) -> Row:
    """A finished row by the beginning of its cell id; UsageError for none, or several."""
    return row_of(_recorded(runs, leaderboard), cell_id)


def row_of(rows: Sequence[Row], cell_id: str) -> Row:
    """The finished row of rows whose cell id begins so; UsageError for none, or several."""
    found = [row for row in rows if row.status == "ok" and row.cell_id.startswith(cell_id)]
    found = [row for row in found if row.cell_id == cell_id] or found
    if len(found) == 1 and len(cell_id) >= LEAST_PREFIX:
        return found[0]
    if not found:
        raise UsageError(f"no finished cell {cell_id!r} is recorded", hint=suggest(cell_id, (r.cell_id for r in rows)))
    several = f"{counted(len(found), 'recorded cell')} may be meant by {cell_id!r}"
    raise UsageError(several, hint=f"give at least {LEAST_PREFIX} digits, and as many as make it unique")


def _recorded(runs: Path, leaderboard: Path | None) -> list[Row]:
    if leaderboard is not None:
        return [row for row in read_rows(leaderboard) if row.source == "measured"]
    store = RunStore(runs)
    names = [name.removesuffix(".json") for name in store.record_names() if not name.endswith(".failed.json")]
    return [row for name in names if (row := store.read_cell(name)) is not None]


def _differences(row: Row, now: Row) -> list[ChangedValue]:
    before, after = _compared(row), _compared(now)
    found = []
    for column in dict.fromkeys([*before, *after]):
        recorded, again = before.get(column), after.get(column)
        if recorded != again and not (column == "gradient_queries" and recorded is None):  # older rows lack it
            outdated = column in ("flags", "diagnostics") and row.diagnostics != now.diagnostics
            tolerated = outdated or _is_tolerated(column, recorded, again, row)
            found.append(ChangedValue(column=column, recorded=recorded, now=again, tolerated=tolerated))
    return found


def _compared(row: Row) -> dict[str, object]:
    values = {**vars(row), **{f"extra.{name}": value for name, value in row.extra.items()}}
    return {name: value for name, value in values.items() if name not in _NOT_COMPARED}


def _is_tolerated(column: str, recorded: object, again: object, row: Row) -> bool:
    """Whether numbers are close; those of the cell's identity must be equal."""
    if not (isinstance(recorded, (int, float)) and isinstance(again, (int, float))) or column in _EXACT:
        return False
    if column in (*_FRACTIONS, *_ENDS):
        fewest = max(min(row.n_test, row.n_train_evaluated or row.n_test), 1)
        limit = max(EXAMPLES_OF_TOLERANCE / fewest, SHARE_OF_TOLERANCE)
        return abs(recorded - again) <= (2 if column in _ENDS else 1) * limit + 1e-12
    return abs(recorded - again) <= RELATIVE_TOLERANCE * max(abs(recorded), abs(again))


def _changes(row: Row, now: Row, data_digest: str) -> dict[str, tuple[str, str]]:
    pairs: dict[str, tuple[str, str]] = {
        "device": (row.device, now.device),
        "git_commit": (row.git_commit, now.git_commit),
        "dataset_digest": (row.dataset_digest, data_digest),
    }
    before, after = _versions(row), provenance.versions()
    pairs |= {name: (before.get(name, ""), after.get(name, "")) for name in sorted({*before, *after})}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _versions(row: Row) -> dict[str, str]:
    try:
        found = json.loads(row.versions)
    except ValueError:
        return {}
    return {str(name): str(version) for name, version in found.items()} if isinstance(found, dict) else {}
