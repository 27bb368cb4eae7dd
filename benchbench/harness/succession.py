"""Where a model is trained, and how the weights of a fresh run take the place of those that rows were measured on.

A fresh run trains beside the model's checkpoint, which stays as it is. The new weights take its place when the first row
measured on them is recorded. If they differ from the old ones, these are kept until a leaderboard is rebuilt and no row is left
that was measured on them: another attack's, or another suite's. So a row and its weights verify together at every moment.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

from benchbench.atomic import storage_errors, write_atomically
from benchbench.errors import StorageError
from benchbench.events import Note
from benchbench.harness.workbench import Workbench
from benchbench.records import RunStore
from benchbench.training import Checkpoint
from benchbench.training.checkpoint import StoredModel, read_checkpoint, weights_digest


def training_checkpoint(model_id: str, bench: Workbench) -> Checkpoint:
    """Where a model is trained: what is there goes on.

    In a fresh run that is the successor of the model's checkpoint, unless a process of this run has replaced the checkpoint
    already. What an interrupted fresh run left goes on, in the next fresh run, or in any run if the model has no checkpoint.
    """
    store = bench.store
    present = Checkpoint(store.checkpoint_path(model_id), model_id)
    successor = Checkpoint(store.successor_path(model_id), model_id)
    written, begun = present.time(), successor.time()
    if bench.fresh and written == bench.earlier.get(model_id, written):
        if begun is not None and begun / 1e9 < bench.begun:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(begun / 1e9))
            advice = f"going on with the fresh training that was left at {when}; to begin another one, remove"
            bench.listener(Note(message=f"  {advice} {successor.path}"))
        return successor
    if written is None and begun is not None:
        with storage_errors(present.path), suppress(FileNotFoundError):  # another rank was quicker
            successor.path.replace(present.path)
    return present


def stored_model(model_id: str, bench: Workbench) -> StoredModel | None:
    """The weights that a process of this run has trained; None where there are none.

    Raises:
        StorageError: they are damaged.
    """
    successor = read_checkpoint(bench.store.successor_path(model_id)) if bench.fresh else None
    return successor or read_checkpoint(bench.store.checkpoint_path(model_id))


def give_up(checkpoint: Checkpoint, bench: Workbench) -> None:
    """Remove the successor whose training failed: the next fresh run begins anew. A model's checkpoint stays."""
    if checkpoint.path == bench.store.successor_path(checkpoint.model_id):
        checkpoint.path.unlink(missing_ok=True)


def succeed(model_id: str, weights: str, store: RunStore) -> None:
    """Put a successor in the place of the model's checkpoint, if it has these weights; different earlier ones are kept.

    Args:
        weights: digest of the weights that a row is about to be recorded of.

    Raises:
        StorageError: the earlier ones cannot be kept; they are left where they are.
    """
    successor, path = store.successor_path(model_id), store.checkpoint_path(model_id)
    if _weights(successor) != weights:
        return
    earlier = _weights(path)
    if earlier not in ("", weights):
        _keep(path, store.kept_path(model_id, earlier), earlier)
    with storage_errors(path), suppress(FileNotFoundError):  # another process of the run was quicker
        successor.replace(path)


class _ReplacedError(Exception):
    """Another process was quicker: it has kept the earlier weights, and put its own, equal successor in their place."""


def _keep(path: Path, kept: Path, weights: str) -> None:
    """Copy a checkpoint that has these weights, unless it has them no more."""

    def copy(temporary: Path) -> None:
        shutil.copyfile(path, temporary)
        if _weights(temporary) != weights:
            raise _ReplacedError

    with suppress(_ReplacedError):
        write_atomically(kept, copy)


def _weights(path: Path) -> str:
    """Digest of the weights in a checkpoint file; empty where it is missing or damaged."""
    try:
        stored = read_checkpoint(path)
    except StorageError:
        return ""
    return weights_digest(stored.state) if stored is not None and stored.intact else ""
