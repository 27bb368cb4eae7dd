"""Datasets: where one may read, the examples that it gives, and the digest of its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK_BYTES = 1 << 24
SplitName = Literal["train", "test"]


@dataclass(frozen=True, kw_only=True)
class Examples:
    """One split of a dataset.

    Attributes:
        inputs: uint8 images (N, C, H, W), where pixel / 255 is what the model sees, or float32 features (N, ...).
        labels: int64 (N,) in [0, classes); float32 (N,) targets for regression.
    """

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return int(self.inputs.shape[0])


@dataclass(frozen=True, kw_only=True)
class DatasetSplits:
    """A loaded dataset.

    Attributes:
        train: training examples, on the CPU.
        test: test examples, on the CPU.
        classes: name of each class; empty for regression.
        lower: smallest valid value of a model input (0 for images).
        upper: largest valid value of a model input (1 for images).
        task: ``"classification"`` or ``"regression"``.
        notes: shown by commands, for instance which files were left out and why.
    """

    train: Examples
    test: Examples
    classes: tuple[str, ...]
    lower: float = 0.0
    upper: float = 1.0
    task: Literal["classification", "regression"] = "classification"
    notes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one test input, for instance (1, 28, 28); training images may have a margin."""
        return tuple(int(size) for size in self.test.inputs.shape[1:])


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Where datasets may read.

    Attributes:
        root: the data root (``BENCHBENCH_DATA`` or ``--data``), in torchvision's layout.
        cache: a folder for derived files, created on demand.
        download: whether fetching from the network is allowed.
    """

    root: Path
    cache: Path
    download: bool = False


@runtime_checkable
class Dataset(Protocol):
    """A source of labelled data."""

    def load(self, source: DataSource) -> DatasetSplits:
        """Read both splits.

        Raises:
            MissingDataError: the files are missing; its `fetch` says how to get them.
            CorruptDataError: a file is truncated or fails its checksum.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class DatasetExtent:
    """The size of a dataset for classification.

    Attributes:
        train: number of training examples.
        test: number of test examples.
        input_shape: of one model input, for instance (1, 28, 28).
        classes: number of classes.
        bytes_per_input: of one stored input; None for uint8 of `input_shape`.
    """

    train: int
    test: int
    input_shape: tuple[int, ...]
    classes: int
    bytes_per_input: int | None = None


@runtime_checkable
class DescribedDataset(Dataset, Protocol):
    """A `Dataset` of known size without its files: a plan can price it before it is fetched."""

    def extent(self) -> DatasetExtent:
        """The size of what `load` returns."""
        ...


def data_digest(splits: DatasetSplits) -> str:
    """Hex SHA-256 of class names and all four tensors' dtype, shape, bytes (``dataset_digest``)."""
    state = hashlib.sha256(json.dumps(list(splits.classes)).encode())
    for examples in (splits.train, splits.test):
        for tensor in (examples.inputs, examples.labels):
            state.update(f"\n{tensor.dtype} {tuple(tensor.shape)}\n".encode())
            for block in row_blocks(tensor):
                state.update(block.contiguous().numpy().tobytes())
    return state.hexdigest()


def row_blocks(tensor: Tensor) -> Iterator[Tensor]:
    """Yield consecutive rows of a tensor (N, ...), at most 16 MiB but at least one row each.

    A tensor that is mapped from a file is then never in memory as a whole.
    """
    row_bytes = tensor.element_size() * max(1, tensor[:1].numel())
    step = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, len(tensor), step):
        yield tensor[start : start + step]
