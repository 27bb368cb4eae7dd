"""Find the architecture of a weights file from its metadata or its run folder's records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from benchbench.cell.model import Component, TrainingSpec, canonical
from benchbench.cell.reading import read_cell
from benchbench.errors import BenchbenchError, DataError, StorageError, UsageError
from benchbench.records import RunStore
from benchbench.registry import Registry
from benchbench.training.checkpoint import check_header

Architecture = dict[str, object]  # ``name`` and options
ARCHITECTURE = "architecture"  # in the metadata of a safetensors file: a name, or JSON with a name and options
MODEL_ID = "model_id"  # in the metadata of benchbench's checkpoints


def recorded_architecture(checkpoint: Path, registry: Registry) -> Architecture:
    """Find a checkpoint's architecture as a suite writes it: a mapping of ``name`` and options.

    It is in the file's metadata (``save_file(tensors, path, {"architecture": "cnn2"})``), or, for a file in ``models`` of a run
    folder, in the records of that folder; otherwise a UsageError. It must be registered (else a DataError, as for damage),
    because a file must not name code to import.
    """
    metadata = _metadata(checkpoint)
    if ARCHITECTURE in metadata:
        return _registered(_parse(metadata[ARCHITECTURE], checkpoint), checkpoint, registry)
    model_id = metadata.get(MODEL_ID, "")
    recorded = _recorded_training(checkpoint, model_id)
    if recorded is None:
        reason = f"no record of model {model_id} lies beside it" if model_id else "its metadata name none"
        raise UsageError(
            f"cannot tell the architecture of {checkpoint}: {reason}",
            hint="name it with --architecture NAME or --architecture '{name = \"...\", OPTION = ...}'",
        )
    return _registered({"name": recorded.architecture.name, **recorded.architecture.options}, checkpoint, registry)


def differing_data(checkpoint: Path, dataset: Component) -> str:
    """A hint that names the dataset of a checkpoint; empty if it is the same, or not recorded."""
    recorded = _recorded_training(checkpoint, _metadata(checkpoint).get(MODEL_ID, ""))
    if recorded is None or recorded.dataset == dataset:
        return ""
    changed = {name: value for name, value in recorded.dataset.options.items() if dataset.options.get(name) != value}
    options = "".join(f", {name} = {json.dumps(canonical(value))}" for name, value in changed.items())
    return f"it was trained on other data, says its record: --dataset '{{name = {json.dumps(recorded.dataset.name)}{options}}}'"


def _metadata(path: Path) -> Mapping[str, str]:
    if not path.exists():
        raise StorageError(f"there is no file {path}")
    if path.suffix != ".safetensors":
        return {}
    try:
        check_header(path)
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as weights: {' '.join(str(error).split())[:200]}") from error


def _parse(text: str, path: Path) -> Architecture:
    try:
        entry = json.loads(text) if text.lstrip().startswith("{") else {"name": text}
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} names an architecture that is no JSON: {error}") from error
    if not isinstance(entry.get("name"), str):
        raise DataError(f"{path} names no architecture: {text[:80]!r}", hint='expected "cnn2" or {"name": "cnn2", ...}')
    return dict(entry)


def _registered(entry: Architecture, path: Path, registry: Registry) -> Architecture:
    try:
        registry.get("architecture", str(entry["name"]))
    except BenchbenchError as error:
        raise DataError(f"{path} says that it is of an {error.message}", hint=error.hint) from error
    return entry


def _recorded_training(checkpoint: Path, model_id: str) -> TrainingSpec | None:
    """How a model was trained, from a finished cell in its run folder; None if there is none."""
    runs = checkpoint.absolute().parent.parent
    if not model_id or not (runs / "cells").is_dir():
        return None
    store = RunStore(runs)
    for name in store.record_names():
        row = store.read_cell(name.partition(".")[0])
        if row is not None and row.model_id == model_id:
            return read_cell(row.configuration).training
    return None
