"""Read weights from safetensors, or from a torch file of tensors alone."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchbench.errors import DataError, StorageError, first
from benchbench.training.checkpoint import check_header

_NESTED = ("state_dict", "model_state_dict", "model")  # keys of the weights in files of training scripts
_PREFIXES = (
    "",
    "module.",
    "model.",
)  # the second from torch's parallel wrappers, the third from benchbench's checkpoints


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a model's weights in place. Only tensors and plain containers are unpickled.

    Args:
        model: of the architecture of the weights; one on the meta device is only compared with them.
        path: safetensors, a torch file of a ``state_dict``, or a training checkpoint of benchbench.

    Raises:
        StorageError: there is no such file.
        DataError: it is damaged, holds more than tensors, or its names or shapes are not the model's.
    """
    own = model.state_dict()
    found = _named_alike(_weights(read_tensors(path), path), own.keys())
    other = [_shapes(n, found, own) for n in own if n in found and found[n].shape != own[n].shape]
    lists = {"it lacks": sorted(own.keys() - found.keys()), "it has besides": sorted(found.keys() - own.keys())}
    lists["of other shapes"] = other
    if problems := [f"{what} {', '.join(first(names))}" for what, names in lists.items() if names]:
        raise DataError(
            f"{path} holds weights of another model: {'; '.join(problems)}", hint="check architecture and options"
        )
    if not any(value.is_meta for value in own.values()):
        model.load_state_dict(found)


def read_tensors(path: Path) -> Mapping[str, object]:
    """Read the content of a file of weights (errors as of `load_weights`)."""
    if not path.is_file():
        raise StorageError(
            f"there is no file {path}", hint="give a file of weights: .safetensors, or .pt with a state_dict"
        )
    try:
        if path.suffix == ".safetensors":
            check_header(path)
            return load_file(path)
        _check_unpacked_size(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} is refused: it is damaged, or unpickling it could run code",
            hint="save the weights alone, with safetensors or torch.save(model.state_dict(), ...)",
        ) from error
    except Exception as error:  # torch's reader may raise anything for a damaged file: IndexError, AssertionError, ...
        raise DataError(f"{path} cannot be read as weights: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, Mapping):
        raise DataError(f"{path} holds a {type(content).__name__}", hint="expected a state_dict: names and tensors")
    return content


def _check_unpacked_size(path: Path) -> None:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > path.stat().st_size:  # torch does not compress
            raise ValueError(f"it unpacks to {size:,} bytes, more than it has")


def _weights(content: Mapping[str, object], path: Path) -> dict[str, Tensor]:
    nested = (content[key] for key in _NESTED if isinstance(content.get(key), Mapping))
    found = cast("Mapping[str, object]", next(nested, content))
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    strange = [name for name in found if name not in tensors]
    if strange or not tensors:
        raise DataError(
            f"{path} holds no state_dict: {f'{strange[0]!r} is no tensor' if strange else 'it is empty'}",
            hint=f"expected names and tensors, at the top or under {', '.join(_NESTED)}",
        )
    return tensors


def _named_alike(tensors: dict[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """Remove a prefix from the names of the weights if they then match the model's."""
    for prefix in _PREFIXES:
        bare = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        if bare.keys() == set(names):
            return bare
    return tensors


def _shapes(name: str, found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    return f"{name} {tuple(found[name].shape)} instead of {tuple(own[name].shape)}"
