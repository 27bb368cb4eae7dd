"""Puts a leaderboard's finished rows into a runs folder: another machine goes on from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchbench.atomic import write_bytes_atomically
from benchbench.cell.model import TrainingSpec
from benchbench.cell.reading import read_cell
from benchbench.checking.consistency import outcome_findings
from benchbench.checking.evidence import identity_findings
from benchbench.errors import BenchbenchError, StorageError
from benchbench.harness.succession import checkpoint_digest
from benchbench.leaderboard import read_rows
from benchbench.leaderboard.merging import copy_evidence
from benchbench.records import Row, RunStore, checkpoint_name, flags_are_current, kept_checkpoints
from benchbench.records.outcomes import find_malformation
from benchbench.training.checkpoint import read_checkpoint, weights_digest


@dataclass(frozen=True, kw_only=True)
class Restored:
    """The rows of a leaderboard, by what became of them."""

    recorded: tuple[str, ...]  # cell ids: they are finished in the runs folder now
    present: tuple[str, ...]  # they were finished there before
    outdated: tuple[str, ...]  # of both: older diagnostics judged them, so that a run renews their flags
    refused: tuple[tuple[str, str], ...]  # cell id, and why the row does not count as finished


def restore(board: Path, store: RunStore, *, on_problem: Callable[[str], None]) -> Restored:
    """Record a leaderboard's measured, finished rows in a store, with what lies beside the file.

    A finished record of the store stays as it is. A row without its per-example outcomes, or whose columns contradict them or
    its configuration, is refused. Adversarial images and weights are optional: without weights, a further attack on the model
    trains it again. `on_problem` receives a message about weights that cannot be the row's.

    Raises:
        StorageError: the leaderboard cannot be read, or the store not be written.
    """
    recorded, present, outdated = list[str](), list[str](), list[str]()
    refused: list[tuple[str, str]] = []
    rows = read_rows(board, on_problem=lambda problem: refused.append(("", problem)))
    rows = rows.where(rows.having("source", "measured") & rows.having("status", "ok"))
    known = {row.cell_id: row for cell_id in rows.values("cell_id") if (row := store.finished_row(cell_id))}
    new = rows.where(~rows.having("cell_id", *known))
    beside = board.parent / new[0].suite if new else board.parent
    for (digest,) in new.distinct("outcomes_digest")[0]:
        store.read_outcomes(digest)  # sets a damaged file aside, in whose place a copy can come
    copy_evidence(new, [beside], store.root)
    for row in rows:
        if row.cell_id not in known and (reason := _bring(row, beside, store, on_problem)):
            refused.append((row.cell_id, reason))
            continue
        (present if row.cell_id in known else recorded).append(row.cell_id)
        if not flags_are_current(known.get(row.cell_id, row)):
            outdated.append(row.cell_id)
    return Restored(recorded=tuple(recorded), present=tuple(present), outdated=tuple(outdated), refused=tuple(refused))


def _bring(row: Row, beside: Path, store: RunStore, on_problem: Callable[[str], None]) -> str:
    """Record a row whose outcomes and images are copied, with its weights; return why not."""
    try:
        cell = read_cell(row.configuration)
    except BenchbenchError as error:
        return error.message
    findings = identity_findings(row, cell)
    if row.outcomes_digest and not findings:
        outcomes = store.read_outcomes(row.outcomes_digest)
        if outcomes is None:
            return f"its outcomes are not in {beside / 'outcomes'}, or damaged"
        if malformed := find_malformation(outcomes):
            return malformed
        findings = outcome_findings(row, outcomes, ())
    if findings:
        return str(findings[0])
    try:
        weights = _bring_weights(cell.training, beside, store)
    except StorageError as error:
        on_problem(f"weights left out: {error.message}")
        weights = ""
    store.write_row(row, weights=weights)
    if row.witnesses_digest and store.finished_row(row.cell_id) is None:
        store.leave_out_witnesses(row.witnesses_digest)
    return ""


def _bring_weights(training: TrainingSpec, beside: Path, store: RunStore) -> str:
    """Copy a model's weights if they are there; return the digest of the row's.

    Other weights of the store stay what further cells use; the copy is kept beside them. Raise StorageError if the file is
    damaged or holds another model.
    """
    source, target = beside / "models" / checkpoint_name(training.model_id), store.checkpoint_path(training.model_id)
    stored = read_checkpoint(source)
    if stored is None:
        return ""
    weights, epochs = weights_digest(stored.state), (stored.position.epoch, stored.position.step)
    mine = (stored.model_id, epochs) == (training.model_id, (training.recipe.epochs, 0))
    if not stored.intact or not mine or training.weights not in ("", weights):
        raise StorageError(f"{source} does not hold the trained model")
    ambiguous = kept_checkpoints(source)  # of a fresh run: which ones the row was measured on is not known
    for file in (source, *ambiguous):
        if not (copy := target.with_name(file.name)).exists():
            write_bytes_atomically(copy, file.read_bytes())
        elif file == source and not ambiguous and checkpoint_digest(copy) != weights:
            write_bytes_atomically(store.kept_path(training.model_id, weights), file.read_bytes())
    return "" if ambiguous else weights
