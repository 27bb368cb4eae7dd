"""Puts a leaderboard's finished rows into a runs folder: another machine goes on from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchbench.atomic import write_bytes_atomically
from benchbench.cell.reading import read_cell
from benchbench.errors import BenchbenchError
from benchbench.leaderboard import read_rows
from benchbench.leaderboard.merging import copy_evidence
from benchbench.records import Row, RunStore, checkpoint_name
from benchbench.records.store import LEFT_OUT
from benchbench.training.checkpoint import read_checkpoint, weights_digest


@dataclass(frozen=True, kw_only=True)
class Restored:
    """The rows of a leaderboard, by what became of them."""

    recorded: tuple[str, ...]  # cell ids: they are finished in the runs folder now
    present: tuple[str, ...]  # they were finished there before
    refused: tuple[tuple[str, str], ...]  # cell id, and why the row does not count as finished


def restore(board: Path, store: RunStore) -> Restored:
    """Record a leaderboard's measured, finished rows in a store, with what lies beside the file.

    A finished record of the store stays as it is. A row without its per-example outcomes, or with another cell id than its
    configuration gives, is refused. Adversarial images and weights are optional: without weights, a further attack on the model
    trains it again.

    Raises:
        StorageError: the leaderboard cannot be read, or the store not be written.
    """
    recorded, present, refused = [], [], []
    rows = read_rows(board, on_problem=lambda problem: refused.append(("", problem)))
    for row in rows.where(rows.having("source", "measured") & rows.having("status", "ok")):
        if store.finished_row(row.cell_id) is not None:
            present.append(row.cell_id)
        elif reason := _bring(row, board.parent / row.suite, store):
            refused.append((row.cell_id, reason))
        else:
            recorded.append(row.cell_id)
    return Restored(recorded=tuple(recorded), present=tuple(present), refused=tuple(refused))


def _bring(row: Row, beside: Path, store: RunStore) -> str:
    """Record a row with its files; return why not."""
    try:
        identity = read_cell(row.configuration).identity()
        if differing := [name for name, value in identity.items() if getattr(row, name) != value]:
            return f"its configuration has another {differing[0]}"
    except BenchbenchError as error:
        return f"its configuration cannot be read: {error.message}"
    copy_evidence([row], [beside], store.root)
    if row.outcomes_digest and store.read_outcomes(row.outcomes_digest) is None:
        return f"its outcomes are not in {beside / 'outcomes'}"
    store.write_row(row, weights=_bring_weights(row.model_id, beside, store))
    if row.witnesses_digest and store.finished_row(row.cell_id) is None:
        (store.root / "witnesses").mkdir(exist_ok=True)
        (store.root / "witnesses" / f"{row.witnesses_digest}{LEFT_OUT}").touch()
    return ""


def _bring_weights(model_id: str, beside: Path, store: RunStore) -> str:
    """Copy the weights of a model if they are there and the store has none; return their digest."""
    source, target = beside / "models" / checkpoint_name(model_id), store.checkpoint_path(model_id)
    stored = read_checkpoint(source)
    if stored is None or not stored.intact:
        return ""
    if not target.exists():
        write_bytes_atomically(target, source.read_bytes())
    return weights_digest(stored.state)
