"""Chooses the checkpoint of a training, and replaces weights after a fresh run.

A fresh run trains a successor beside the model's checkpoint, which stays unchanged. The successor replaces it when the first
row measured on the new weights is recorded. If the weights differ, the old ones are kept as long as any row was measured on
them, for instance one of another attack or suite; rebuilding a leaderboard removes them. So a row and its weights always match.
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
    """The checkpoint that a training writes, and resumes if it exists.

    In a fresh run it is the successor, unless a process of this run has already replaced the model's checkpoint. The successor
    of an interrupted fresh run is resumed by the next fresh run, or by any run if the model has no checkpoint.
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
        with storage_errors(present.path), suppress(FileNotFoundError):  # another rank has moved it
            successor.path.replace(present.path)
    return present


def stored_model(model_id: str, bench: Workbench) -> StoredModel | None:
    """The weights that this run has trained, or None; StorageError if they are damaged."""
    successor = read_checkpoint(bench.store.successor_path(model_id)) if bench.fresh else None
    return successor or read_checkpoint(bench.store.checkpoint_path(model_id))


def give_up(checkpoint: Checkpoint, bench: Workbench) -> None:
    """Remove a successor whose training failed, so that the next fresh run begins again."""
    if checkpoint.path == bench.store.successor_path(checkpoint.model_id):
        checkpoint.path.unlink(missing_ok=True)


def succeed(model_id: str, weights: str, store: RunStore) -> None:
    """Replace a model's checkpoint by its successor, if that has the row's weights.

    Different earlier weights are kept beside it; if that fails, they stay, and this is a StorageError.
    """
    successor, path = store.successor_path(model_id), store.checkpoint_path(model_id)
    if checkpoint_digest(successor) != weights:
        return
    earlier = checkpoint_digest(path)
    if earlier not in ("", weights):
        _keep(path, store.kept_path(model_id, earlier), earlier)
    with storage_errors(path), suppress(FileNotFoundError):  # another process has moved it
        successor.replace(path)


class _ReplacedError(Exception):
    """Another process has kept the earlier weights and installed its own, equal successor."""


def _keep(path: Path, kept: Path, weights: str) -> None:
    def copy(temporary: Path) -> None:
        shutil.copyfile(path, temporary)
        if checkpoint_digest(temporary) != weights:
            raise _ReplacedError

    with suppress(_ReplacedError):
        write_atomically(kept, copy)


def checkpoint_digest(path: Path) -> str:
    """Digest of the weights in a checkpoint file; empty if it is missing or damaged."""
    try:
        stored = read_checkpoint(path)
    except StorageError:
        return ""
    return weights_digest(stored.state) if stored is not None and stored.intact else ""
