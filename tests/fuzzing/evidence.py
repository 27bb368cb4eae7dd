"""Mutated checkpoints, cell records and data files of other values, each under its own digest."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from fuzzing.draws import Draws, splice
from fuzzing.files import OUTCOMES, _model, _replay, cells, evidence, rows
from fuzzing.suites import registry
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from benchbench.contract import DataSource
from benchbench.data import load_dataset
from benchbench.errors import BenchbenchError
from benchbench.own_model.files import load_weights
from benchbench.own_model.origin import recorded_architecture
from benchbench.pricing.timings import read_timings
from benchbench.records import RunStore
from benchbench.records.arrays import write_arrays
from benchbench.training.checkpoint import Checkpoint, _digest, read_checkpoint

_IDX = {  # a few bytes of each file of MNIST: their MD5 is never the published one
    "train-images-idx3-ubyte": b"\0\0\x08\x03\0\0\0\x01\0\0\0\x02\0\0\0\x02abcd",
    "train-labels-idx1-ubyte": b"\0\0\x08\x01\0\0\0\x01\x07",
    "t10k-images-idx3-ubyte.gz": b"\x1f\x8b\x08\0\0\0\0\0\0\xff",
    "t10k-labels-idx1-ubyte": b"",
}
_DATASETS = ("mnist", "image-folder", "parquet-images", "svhn", "cifar-10")


def checkpoint_values(data: bytes) -> None:
    """A checkpoint of other metadata, tensors, types and shapes that says it is intact."""
    draws = Draws(data)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / f"{cells()[0].training.model_id}.safetensors"
        path.write_bytes(evidence()["model.safetensors"])
        with safe_open(path, framework="pt") as file:
            metadata, tensors = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for _ in range(draws.below(3)):
            name = draws.choice([*tensors, draws.text()])
            tensors[name] = _tensor(draws)
        if draws.below(2):
            document = json.loads(metadata["position"])
            _change(document, draws)
            metadata["position"] = json.dumps(document)
        for _ in range(draws.below(3)):
            metadata[draws.choice([*metadata, "architecture", draws.text()])] = draws.text()
        if draws.below(4):
            metadata["digest"] = _digest(tensors)
        with contextlib.suppress(SafetensorError, UnicodeError):  # no such file can be
            save_file(tensors, path, metadata)
        _use_checkpoint(path)


def _use_checkpoint(path: Path) -> None:
    content = path.read_bytes()
    with contextlib.suppress(BenchbenchError):
        read_checkpoint(path)
    with contextlib.suppress(BenchbenchError):
        load_weights(_model(), path)
    with contextlib.suppress(BenchbenchError):
        recorded_architecture(path, registry())
    model = _model()
    with contextlib.suppress(BenchbenchError):
        Checkpoint(path, cells()[0].training.model_id).load(model, torch.optim.Adam(model.parameters()))
    (path.parent / "models").mkdir()
    (path.parent / "outcomes").mkdir()
    write_arrays(path.parent / "outcomes" / f"{rows()[0].outcomes_digest}.parquet", OUTCOMES)
    (path.parent / "models" / path.name).write_bytes(content)
    _replay(path.parent, rows()[:1])


def _tensor(draws: Draws) -> torch.Tensor:
    kinds = (torch.float32, torch.float64, torch.int64, torch.bool, torch.bfloat16, torch.uint8, torch.complex64)
    shape = [draws.choice((10, 64, 0, 1, 3)) for _ in range(draws.below(4))]
    return torch.full(shape, draws.choice((0.0, 1.0, float("nan"), float("inf"), -1.0))).to(draws.choice(kinds))


def record_values(data: bytes) -> None:
    """A cell record of other values under its own digest, with another configuration."""
    draws = Draws(data)
    row = rows()[0]
    record = dataclasses.asdict(row)
    for _ in range(draws.below(3)):
        record[draws.choice([*record, draws.text()])] = draws.value()
    if draws.below(3):
        configuration = json.loads(row.configuration)
        for _ in range(1 + draws.below(2)):
            _change(configuration, draws)
        record["configuration"] = json.dumps(configuration)
    content = json.dumps(record, sort_keys=True)
    envelope = {"format": 1, "sha256": hashlib.sha256(content.encode("utf-8", "replace")).hexdigest(), "row": record}
    if not draws.below(6):
        _change(envelope, draws)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        place = Path(folder) / "cells"
        place.mkdir()
        (place / f"{row.cell_id}.json").write_text(json.dumps(envelope), encoding="utf-8")
        store = RunStore(Path(folder), on_problem=lambda _: None)
        with contextlib.suppress(BenchbenchError):
            found = store.rows()
            store.unused_weights()
            store.finished_row(row.cell_id)
            (Path(folder) / "outcomes").mkdir(exist_ok=True)
            write_arrays(Path(folder) / "outcomes" / f"{row.outcomes_digest}.parquet", OUTCOMES)
            _replay(Path(folder), found)


def _change(document: Any, draws: Draws) -> None:
    """Replace, remove or add a value somewhere in a document."""
    place = document
    while True:
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = draws.choice(keys) if keys else draws.text()
        if keys and isinstance(place[key], (dict, list)) and draws.below(4):
            place = place[key]
            continue
        break
    if isinstance(place, list):
        place.append(draws.value())
    elif keys and not draws.below(4):
        del place[key]
    else:
        place[key if draws.below(6) else draws.text()] = draws.value()


@functools.cache
def _image() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (255, 0, 7)).save(buffer, format="PNG")
    return buffer.getvalue()


@functools.cache
def _shard() -> bytes:
    table = pa.table({"image": [{"bytes": _image(), "path": "x"}] * 4, "label": [0, 1, 0, 1]})
    features = {"info": {"features": {"label": {"names": ["cat", "dog"]}}}}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), buffer)
    return buffer.getvalue()


def data_files(data: bytes) -> None:
    """A data root in which some files are damaged: the dataset is loaded, or one clean error says why not."""
    draws = Draws(data)
    files = {f"MNIST/raw/{name}": content for name, content in _IDX.items()}
    files |= {f"images/{split}/{name}/1.png": _image() for split in ("train", "test") for name in ("a", "b")}
    files |= {f"shards/{split}-0.parquet": _shard() for split in ("train", "test")}
    files |= {
        "train_32x32.mat": b"MATLAB 5.0",
        "test_32x32.mat": b"",
        "cifar-10-python.tar.gz": _IDX["t10k-images-idx3-ubyte.gz"],
    }
    files |= {"timings.json": b'{"device": "cpu", "passes": []}'}
    name = draws.choice(_DATASETS)
    for _ in range(draws.below(3)):
        changed = draws.choice(sorted(files))
        files[changed] = splice(files[changed], draws, [b"{}", b"1e999", b"9" * 400, b"[" * 3000, _image(), b"PAR1"])
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for relative, content in files.items():
            (Path(folder) / relative).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / relative).write_bytes(content)
        options = {"image-folder": {"path": "images"}, "parquet-images": {"path": "shards"}}.get(name, {})
        source = DataSource(root=Path(folder), cache=Path(folder) / "cache", download=False)
        with contextlib.suppress(BenchbenchError):
            load_dataset(registry(), registry().resolve("dataset", name, options), source)
        with contextlib.suppress(BenchbenchError):
            read_timings(Path(folder) / "timings.json")
