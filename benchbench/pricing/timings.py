"""Timed passes of architectures in a JSON file: they price a plan for another device.

::

    {"device": "cuda (NVIDIA H200)", "passes": [{"architecture": {"name": "wrn", "options": {...}}, "input_shape": [3, 32, 32],
      "classes": 10, "seconds": {"forward": ..., "backward": ..., "weights": ...}, "bytes": {"parameters": ..., ...}}]}

Seconds are those of one example, see `benchbench.pricing.cost.Passes`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchbench.atomic import storage_errors, write_bytes_atomically
from benchbench.cell.model import Component, canonical, to_json
from benchbench.errors import DataError, UsageError
from benchbench.pricing.cost import ModelBytes, PassSeconds


@dataclass(frozen=True, kw_only=True)
class TimedModel:
    """Time and memory of an architecture on inputs of a shape."""

    architecture: Component
    input_shape: tuple[int, ...]
    classes: int
    seconds: PassSeconds
    size: ModelBytes


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Passes timed on one device (named as in rows), by `model_key`."""

    device: str
    models: Mapping[str, TimedModel]


def model_key(architecture: Component, input_shape: tuple[int, ...], classes: int) -> str:
    """Identify an architecture, options and input; plugin version and dropout do not matter."""
    options = {name: value for name, value in architecture.options.items() if name != "dropout"}
    return to_json([architecture.name, options, input_shape, classes])


def write_timings(path: Path, device: str, models: Iterable[TimedModel]) -> None:
    """Write timings as JSON."""
    entries = [
        {
            "architecture": {"name": model.architecture.name, "options": canonical(model.architecture.options)},
            "input_shape": list(model.input_shape),
            "classes": model.classes,
            "seconds": dataclasses.asdict(model.seconds),
            "bytes": dataclasses.asdict(model.size),
        }
        for model in models
    ]
    document = {"device": device, "passes": entries}
    write_bytes_atomically(path, (json.dumps(document, indent=1) + "\n").encode())


def read_timings(path: Path) -> Timings:
    """Read what `write_timings` wrote; UsageError for no file, DataError for other content."""
    if not path.is_file():
        raise UsageError(
            f"{path} is no file", hint="benchbench plan --save-timings FILE, on the other machine, writes one"
        )
    with storage_errors(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    try:
        document = json.loads(text)
        device, entries = document["device"], document["passes"]
        if not isinstance(device, str) or not isinstance(entries, list):
            raise TypeError("expected a device by name and a list of passes")
        models = [_timed(entry) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"{path} holds no timings: {type(error).__name__}: {error}") from error
    keys = (model_key(model.architecture, model.input_shape, model.classes) for model in models)
    return Timings(device=device, models=dict(zip(keys, models)))


def _timed(entry: Mapping[str, Any]) -> TimedModel:
    architecture = entry["architecture"]
    seconds = PassSeconds(**{name: float(value) for name, value in entry["seconds"].items()})
    if not all(math.isfinite(value) and value >= 0 for value in dataclasses.astuple(seconds)):
        raise ValueError(f"seconds must be numbers of at least 0, got {seconds}")
    return TimedModel(
        architecture=Component(
            kind="architecture",
            name=str(architecture["name"]),
            options=dict(architecture["options"]),
            distribution="",
            version="",
        ),
        input_shape=tuple(int(size) for size in entry["input_shape"]),
        classes=int(entry["classes"]),
        seconds=seconds,
        size=ModelBytes(**{name: int(value) for name, value in entry["bytes"].items()}),
    )
