"""Checkpoints: everything that training needs to go on, in one safetensors file, written atomically.

The file holds the model's state under ``model.``, the optimiser's under ``optimizer.``, that of a stateful defense under
``defense.``, and, in its metadata, the position, the history and a digest of the content. Random draws are keyed by epoch and
example, so there is no generator state to keep.
Nothing in it is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from benchbench.atomic import write_atomically
from benchbench.contract import StatefulDefense
from benchbench.errors import StorageError


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One line of the training history.

    Attributes:
        epoch: counted from 1.
        loss: mean over the examples of the training loss.
        accuracy: fraction of training examples classified correctly on the way; None where the defense gives no logits.
    """

    epoch: int
    learning_rate: float
    loss: float
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far training has come.

    Attributes:
        epoch: epochs finished.
        step: steps finished within the current epoch.
        loss_sum: summed loss over the current epoch so far.
        correct: examples classified correctly over the current epoch so far; -inf where the defense gives no logits.
        history: the finished epochs.
        seconds: time spent training so far, over all sittings.
        part_size: examples that go through the model at once, where the memory does not suffice for a whole batch; else 0.
        ranks: the most processes that trained together in any sitting.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: float = 0.0
    history: tuple[EpochRecord, ...] = ()
    seconds: float = 0.0
    part_size: int = 0
    ranks: int = 1


class Checkpoint:
    """A checkpoint file that belongs to one model configuration.

    Args:
        path: the file.
        model_id: digest of the training configuration; a file of another one is refused.
    """

    def __init__(self, path: Path, model_id: str) -> None:
        self.path = path
        self.model_id = model_id

    def time(self) -> int | None:
        """When the file was written, in nanoseconds; None where there is none. To see whether it has changed."""
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return None

    def save(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, position: Position, *, defense: object = None
    ) -> None:
        """Write the state atomically; that of the defense, too, where it is a `StatefulDefense`.

        Raises:
            StorageError: it cannot be written; the previous checkpoint is left as it was.
        """
        tensors = pack(model, optimizer, defense)
        metadata = {
            "model_id": self.model_id,
            "position": json.dumps(dataclasses.asdict(position)),
            "digest": _digest(tensors),
        }
        write_atomically(self.path, lambda temporary: save_file(tensors, temporary, metadata))

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer, *, defense: object = None) -> Position | None:
        """Restore the state in place; that of the defense, too, where it is a `StatefulDefense`.

        Returns:
            The position, or None when there is no checkpoint. A damaged one is set aside as ``*.corrupt`` and counts as none.

        Raises:
            StorageError: the file belongs to another configuration.
        """
        if not self.path.exists():
            return None
        try:
            tensors, metadata = _read(self.path)
            if metadata.get("digest") != _digest(tensors):
                raise ValueError("the content does not match its digest")
            position = _position(json.loads(metadata["position"]))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            self.path.replace(self.path.with_name(self.path.name + ".corrupt"))
            return None
        if metadata.get("model_id") != self.model_id:
            raise StorageError(
                f"{self.path} holds model {metadata.get('model_id')!r}, expected {self.model_id!r}",
                hint="move the file away, or use another --runs folder",
            )
        unpack(tensors, model, optimizer, defense)
        return position


def pack(model: nn.Module, optimizer: torch.optim.Optimizer, defense: object = None) -> dict[str, Tensor]:
    """The state of a training as tensors by name, on the CPU."""
    tensors = {f"model.{name}": _stored(value) for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": _stored(value) for name, value in state.items() if value is not None}
    if isinstance(defense, StatefulDefense):
        tensors |= {f"defense.{name}": _stored(value) for name, value in defense.state_dict().items()}
    return tensors


def unpack(
    tensors: dict[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer, defense: object = None
) -> None:
    """Restore a state that `pack` gave, in place."""
    model.load_state_dict(_below("model.", tensors))
    _load_optimizer(optimizer, tensors)
    if isinstance(defense, StatefulDefense):
        defense.load_state_dict(_below("defense.", tensors))


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """What a checkpoint file holds, for whoever examines it.

    Attributes:
        model_id: digest of the training configuration that it says it is of.
        state: the model's state, by name.
        position: how far training had come.
        intact: whether the content matches the file's own digest.
    """

    model_id: str
    state: dict[str, Tensor]
    position: Position
    intact: bool


def read_checkpoint(path: Path) -> StoredModel | None:
    """Read a checkpoint and leave it as it is, damaged or not.

    Returns:
        None when there is no such file.

    Raises:
        StorageError: it cannot be read.
    """
    if not path.exists():
        return None
    try:
        tensors, metadata = _read(path)
        return StoredModel(
            model_id=metadata["model_id"],
            state={n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")},
            position=_position(json.loads(metadata["position"])),
            intact=metadata.get("digest") == _digest(tensors),
        )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} is damaged: {' '.join(str(error).split())[:200]}") from error


def write_without_optimizer(source: Path, target: Path) -> None:
    """Copy the checkpoint of a finished training without the optimiser's state, which only training needs.

    Raises:
        StorageError: it cannot be read or written.
    """
    try:
        tensors, metadata = _read(source)
    except (SafetensorError, OSError) as error:
        raise StorageError(f"{source} cannot be read: {' '.join(str(error).split())[:200]}") from error
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer.")}
    metadata = {**metadata, "digest": _digest(kept)}
    write_atomically(target, lambda temporary: save_file(kept, temporary, metadata))


def weights_digest(state: Mapping[str, Any]) -> str:
    """Hexadecimal SHA-256 of a model's state, the same on every device and in every memory layout.

    Args:
        state: from ``state_dict()``, or of a `StoredModel`; entries that are no tensors do not count.
    """
    return _digest({name: _stored(value) for name, value in state.items() if isinstance(value, Tensor)})


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _stored(value: Any) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.tensor(value)
    return tensor.detach().to("cpu", memory_format=torch.contiguous_format).clone()


def _digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    return tensors, metadata


def _position(values: dict[str, Any]) -> Position:
    history = tuple(EpochRecord(**record) for record in values.pop("history"))
    return Position(**values, history=history)


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
