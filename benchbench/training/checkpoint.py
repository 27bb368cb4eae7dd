"""Checkpoints: the state of a training in one safetensors file, written atomically.

The file holds the model's state under ``model.``, the optimiser's under ``optimizer.``, that of a stateful defense under
``defense.``, and averaged and selected weights under ``harvest.``; after the last epoch these are the model's. Its metadata
holds the position with the history, and a digest of the content. Random draws are keyed by epoch and example, so no generator
state is stored. Nothing in the file is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from benchbench.atomic import write_atomically
from benchbench.contract import StatefulDefense
from benchbench.contract.recipe import Selection, require_plain
from benchbench.errors import StorageError

MOST_HEADER = 16 * 2**20  # bytes: 1,000 tensors and a history of 1,000 epochs take a quarter of a MiB


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Accuracies on the validation split after an epoch; None if not measured."""

    clean: float | None = None
    robust: float | None = None

    def selected(self, selection: Selection) -> float | None:
        """The score that decides the selection; None if there is none."""
        return {"last": None, "best-clean": self.clean, "best-robust": self.robust}[selection]


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """An epoch of training, counted from 1, with means over its examples while it trained."""

    epoch: int
    learning_rate: float  # of its first step
    loss: float
    accuracy: float | None  # None where the defense returns no logits
    validation_accuracy: float | None = None  # like the next one, of the weights that would be the model
    validation_robust_accuracy: float | None = None

    @property
    def scores(self) -> Scores:
        """The accuracies on the validation split."""
        return Scores(clean=self.validation_accuracy, robust=self.validation_robust_accuracy)


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far training has come: epochs finished, and steps of the next one with their sums."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: float = 0.0  # -inf where the defense returns no logits
    history: tuple[EpochRecord, ...] = ()
    seconds: float = 0.0  # over all sittings
    part_size: int = 0  # examples per pass if the memory does not suffice for a whole batch; else 0
    ranks: int = 1  # the most processes that trained together in any sitting


class Checkpoint:
    """The checkpoint file of one training configuration, whose digest is `model_id`."""

    def __init__(self, path: Path, model_id: str) -> None:
        self.path = path
        self.model_id = model_id

    def time(self) -> int | None:
        """Return when the file was written, in nanoseconds; None if it does not exist."""
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return None

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, position: Position, **parts: object) -> None:
        """Write the state, with stateful `parts` as in `pack`, or keep the previous file."""
        write_checkpoint(self.path, self.model_id, pack(model, optimizer, **parts), position)

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer, **parts: object) -> Position | None:
        """Restore the state in place, including that of stateful `parts`; return the position.

        Without a checkpoint, return None; a damaged file is renamed to ``*.corrupt`` and counts as none. The file of another
        configuration raises StorageError.
        """
        if not self.path.exists():
            return None
        try:
            stored = read_checkpoint(self.path)
        except StorageError:
            stored = None
        if stored is None or not stored.intact:
            self.path.replace(self.path.with_name(self.path.name + ".corrupt"))
            return None
        if stored.model_id != self.model_id:
            raise StorageError(
                f"{self.path} holds model {stored.model_id!r}, expected {self.model_id!r}",
                hint="move the file away, or use another --runs folder",
            )
        try:
            unpack(stored.tensors, model, optimizer, **parts)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            said = f"{self.path} holds no state of this model: {_in_a_line(error)}"
            raise StorageError(said, hint="move the file away") from error
        return stored.position


def pack(model: nn.Module, optimizer: torch.optim.Optimizer, **parts: object) -> dict[str, Tensor]:
    """Return the state of a training as tensors by name, on the CPU.

    Of the other parts, those with a state (see `StatefulDefense`) are stored below their name.
    """
    tensors = {f"model.{name}": _stored(value) for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": _stored(value) for name, value in state.items() if value is not None}
    for part, stateful in parts.items():
        if isinstance(stateful, StatefulDefense):
            tensors |= {f"{part}.{name}": _stored(value) for name, value in stateful.state_dict().items()}
    return tensors


def unpack(tensors: dict[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer, **parts: object) -> None:
    """Restore a state from `pack` in place."""
    model.load_state_dict(_below("model.", tensors))
    _load_optimizer(optimizer, tensors)
    for part, stateful in parts.items():
        if isinstance(stateful, StatefulDefense):
            stateful.load_state_dict(_below(f"{part}.", tensors))


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """The content of a checkpoint file."""

    model_id: str
    tensors: dict[str, Tensor]  # from `pack`
    position: Position
    intact: bool  # whether the tensors match the file's digest

    @property
    def state(self) -> dict[str, Tensor]:
        """The model's state, by name."""
        return _below("model.", self.tensors)


def read_checkpoint(path: Path) -> StoredModel | None:
    """Read a checkpoint; None if it does not exist. Raise StorageError if it is damaged."""
    if not path.exists():
        return None
    try:
        check_header(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            position = position_from(metadata["position"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return StoredModel(
            model_id=metadata["model_id"],
            tensors=tensors,
            position=position,
            intact=metadata.get("digest") == _digest(tensors),
        )
    except KeyError as error:
        raise StorageError(f"{path} is no checkpoint of benchbench: its metadata lack {error}") from error
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise StorageError(f"{path} is damaged: {_in_a_line(error)}") from error


def check_header(path: Path) -> None:
    """Raise ValueError if the header of a safetensors file is larger than `MOST_HEADER`."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > MOST_HEADER:
        raise ValueError(f"a header of {size:,} bytes, more than {MOST_HEADER:,}")


def position_from(content: str | bytes) -> Position:
    """Read a position as JSON; ValueError, TypeError or another error if it is none."""
    document = json.loads(content)
    history = tuple(EpochRecord(**record) for record in document.pop("history"))
    position = Position(**document, history=history)
    for stated in (position, *history):
        require_plain(stated)
    if [record.epoch for record in history] != [*range(1, len(history) + 1)] or position.epoch != len(history):
        raise ValueError(f"epoch is {position.epoch}, but its history has {len(history)} epochs")
    return position


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def write_checkpoint(path: Path, model_id: str, tensors: dict[str, Tensor], position: Position) -> None:
    """Write a checkpoint atomically, with all tensors of `pack` or those that its reader needs."""
    metadata = {"model_id": model_id, "position": json.dumps(dataclasses.asdict(position)), "digest": _digest(tensors)}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def position_bytes(position: Position) -> bytes:
    """The position as JSON."""
    return json.dumps(dataclasses.asdict(position)).encode()


def weights_digest(state: Mapping[str, object]) -> str:
    """Return the SHA-256, in hex, of a state's tensors; equal on all devices and in all layouts."""
    return _digest({name: _stored(value) for name, value in state.items() if isinstance(value, Tensor)})


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _stored(value: object) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.tensor(value)
    return tensor.detach().to("cpu", memory_format=torch.contiguous_format).clone(memory_format=torch.contiguous_format)


def _digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
