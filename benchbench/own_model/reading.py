"""Read tensors by name from the files of training scripts, and never run what they hold."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from benchbench.errors import DataError, StorageError
from benchbench.training.checkpoint import check_header

_HUGGING_FACE = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_MOST_SKIPPED = 100  # kinds of objects in a file; torch compares each object with all of them
_PROGRAMS = {".onnx": "an ONNX graph", ".pt2": "an exported program"}


def read_tensors(path: Path) -> Mapping[str, object]:
    """Read a file or folder of weights, without other objects; DataError for damage or code."""
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise StorageError(f"there is no file {path}", hint="weights are .safetensors, or .pt with a state_dict")
    alone = "save the weights alone, with safetensors or torch.save(model.state_dict(), ...)"
    try:
        program, content = _program(path), None
        if not program:
            _check_archive(path)
            content = load_file(path) if path.suffix == ".safetensors" else _unpickle(path)
    except pickle.UnpicklingError as error:
        raise DataError(f"{path} is refused: it is damaged, or unpickling it could run code", hint=alone) from error
    except Exception as error:  # the readers of archives and of torch may raise anything for a damaged file
        raise DataError(f"{path} cannot be read as weights: {' '.join(str(error).split())[:200]}") from error
    if program:
        raise DataError(
            f"{path} is {program}, which holds code; only files of weights are read",
            hint="load it yourself and pass the module to benchbench.evaluate(module, ...)",
        )
    if not isinstance(content, Mapping):
        raise DataError(f"{path} holds a {type(content).__name__}, expected: names and tensors", hint=alone)
    return content


def _check_archive(path: Path) -> None:
    if path.suffix == ".safetensors":
        check_header(path)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
            if size > path.stat().st_size:  # torch does not compress
                raise ValueError(f"it unpacks to {size:,} bytes, more than it has")
            if damaged := archive.testzip():  # torch's reader compares no checksums
                raise ValueError(
                    f"the checksum of {damaged} in it does not match: it is damaged; copy or save it again"
                )


def _unpickle(path: Path) -> object:
    """Load with torch's restricted unpickler; names that it does not know become placeholders."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        if not zipfile.is_zipfile(path):  # the format before torch 1.6, which does not list what it names
            raise
        unknown = get_unsafe_globals_in_checkpoint(path)
        if not 0 < len(unknown) <= _MOST_SKIPPED:
            raise
        with safe_globals([(_stand_in(name), name) for name in unknown]):
            return torch.load(path, map_location="cpu", weights_only=True)


def _stand_in(name: str) -> Callable[..., object]:
    """A class that ignores its arguments and state; a dictionary where torch's reader fills one."""
    if name == "collections.defaultdict":
        return lambda *_: {}
    ignoring = {"__new__": lambda cls, *_: object.__new__(cls), "__setstate__": lambda *_: None}
    return type(name.rpartition(".")[2], (), ignoring)


def _program(path: Path) -> str:
    """What a file is that holds code besides weights; empty for any other file."""
    if path.suffix in _PROGRAMS or not zipfile.is_zipfile(path):
        return _PROGRAMS.get(path.suffix, "")
    with zipfile.ZipFile(path) as archive:
        return "a TorchScript archive" if any(name.endswith("/constants.pkl") for name in archive.namelist()) else ""


def _read_folder(folder: Path) -> Mapping[str, object]:
    found = next((folder / name for name in _HUGGING_FACE if (folder / name).is_file()), None)
    if found is None:
        raise StorageError(f"{folder} holds no weights", hint=f"expected one of {', '.join(_HUGGING_FACE)}")
    if found.suffix != ".json":
        return read_tensors(found)
    try:
        names = sorted(set(json.loads(found.read_text(encoding="utf-8"))["weight_map"].values()))
        if any(Path(name).name != name for name in names):
            raise ValueError("it names files in other folders")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise DataError(f"{found} cannot be read: {' '.join(str(error).split())[:200]}") from error
    return {name: tensor for shard in names for name, tensor in read_tensors(folder / shard).items()}
