"""MNIST (LeCun, Cortes, Burges) from its original IDX files, plain or gzipped."""

from __future__ import annotations

import gzip
import hashlib
import logging
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.builtin.datasets.raw_files import require_checksum, require_files
from benchbench.builtin.torchvision_import import import_torchvision
from benchbench.contract import CorruptDataError, DatasetExtent, DatasetSplits, DataSource, Examples

if TYPE_CHECKING:
    from torch import Tensor

_log = logging.getLogger(__name__)
LARGEST = 47_040_016  # bytes of the largest file
UNPACKED_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


class Mnist:
    """60,000 training and 10,000 test images of handwritten digits, uint8 (N, 1, 28, 28).

    The files lie in ``<root>/MNIST/raw/``, as torchvision puts them. Torchvision's own class does not read them here,
    because it unpacks gzipped files into their folder, and a data root may be read-only.
    """

    def load(self, source: DataSource) -> DatasetSplits:
        """Read both splits, and compare the MD5 of each file with the published one."""
        require_files(
            "mnist", source, _lacking, lambda: import_torchvision().datasets.MNIST(source.root, download=True)
        )
        raw = _raw_folder(source)
        return DatasetSplits(
            train=_read_split(raw, "train"), test=_read_split(raw, "t10k"), classes=tuple("0123456789")
        )

    def extent(self) -> DatasetExtent:
        """The size of what `load` gives."""
        return DatasetExtent(train=60_000, test=10_000, input_shape=(1, 28, 28), classes=10)

    def locate(self, source: DataSource) -> None:
        """Raise a MissingDataError if a file is not there; nothing is read."""
        require_files("mnist", source, _lacking)


def _raw_folder(source: DataSource) -> Path:
    return source.root / "MNIST" / "raw"


def _lacking(source: DataSource) -> list[Path]:
    plain = [_raw_folder(source) / name for name in UNPACKED_MD5]
    return [path for path in plain if not path.is_file() and not _gzipped(path).is_file()]


def _gzipped(path: Path) -> Path:
    return path.with_name(path.name + ".gz")


def _read_split(raw: Path, prefix: str) -> Examples:
    images = _read_idx(raw / f"{prefix}-images-idx3-ubyte")
    labels = _read_idx(raw / f"{prefix}-labels-idx1-ubyte")
    return Examples(inputs=images.unsqueeze(1), labels=labels.long())


def _read_idx(path: Path) -> Tensor:
    """Parse IDX: two zero bytes, type (8: uint8), axis count, big-endian uint32 sizes, values."""
    import numpy as np
    import torch

    content = _read_verified(path)
    axes = content[3]
    shape = np.frombuffer(content, dtype=">u4", offset=4, count=axes).astype(int)
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes)
    return torch.from_numpy(values.reshape(tuple(shape)).copy())


def _read_verified(path: Path) -> bytes:
    """The content of a file, plain or gzipped; if both are there, that of the one that is sound."""
    there = [file for file in (path, _gzipped(path)) if file.is_file()]
    for file in there[:-1]:
        try:
            return _read_whole(file, path.name)
        except CorruptDataError as error:
            _log.warning("%s; %s is read instead", error.message, there[-1])
    return _read_whole(there[-1], path.name)


def _read_whole(there: Path, name: str) -> bytes:
    try:
        with gzip.open(there) if there.suffix == ".gz" else there.open("rb") as file:
            content = file.read(LARGEST + 1)  # a small gzipped file may unpack to anything
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CorruptDataError(
            f"{there} is truncated or damaged: expected gzipped data with MD5 {UNPACKED_MD5[name]} once unpacked, "
            f"got a file that does not unpack ({error})",
            hint="delete the file and fetch it again",
        ) from error
    got = hashlib.md5(content, usedforsecurity=False).hexdigest()
    require_checksum(there, expected=UNPACKED_MD5[name], got=got)
    return content
