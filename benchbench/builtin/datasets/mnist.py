"""MNIST (LeCun, Cortes, Burges) from its original IDX files, plain or gzipped."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.builtin.datasets.raw_files import downloading, missing_files, require_checksum
from benchbench.builtin.torchvision_import import import_torchvision
from benchbench.contract import CorruptDataError, DatasetSplits, DataSource, Examples

if TYPE_CHECKING:
    from torch import Tensor

UNPACKED_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


class Mnist:
    """60,000 training and 10,000 test images of handwritten digits, uint8 (N, 1, 28, 28).

    The files lie in ``<root>/MNIST/raw/``, torchvision's layout. They are read here rather than by torchvision's class
    because that unpacks gzipped files beside themselves, and a data root may be read-only.
    """

    def load(self, source: DataSource) -> DatasetSplits:
        """Read both splits and verify each file.

        Raises:
            MissingDataError: a file is not there, plain or gzipped.
            CorruptDataError: a file is truncated or its MD5 differs from the published original's.
        """
        lacking = _lacking(source)
        if lacking and source.download:
            with downloading("mnist", source):
                import_torchvision().datasets.MNIST(source.root, download=True)
            lacking = _lacking(source)
        if lacking:
            raise missing_files("mnist", source, lacking)
        raw = _raw_folder(source)
        return DatasetSplits(
            train=_read_split(raw, "train"), test=_read_split(raw, "t10k"), classes=tuple("0123456789")
        )

    def locate(self, source: DataSource) -> None:
        """Check that the files are there, without reading them.

        Raises:
            MissingDataError: a file is not there.
        """
        if lacking := _lacking(source):
            raise missing_files("mnist", source, lacking)


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
    """Parse IDX: two zero bytes, the type (8: uint8), the number of axes, each size as big-endian uint32, the values."""
    import numpy as np
    import torch

    content = _read_verified(path)
    axes = content[3]
    shape = np.frombuffer(content, dtype=">u4", offset=4, count=axes).astype(int)
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes)
    return torch.from_numpy(values.reshape(tuple(shape)).copy())


def _read_verified(path: Path) -> bytes:
    there = path if path.is_file() else _gzipped(path)
    try:
        content = there.read_bytes() if there is path else gzip.decompress(there.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CorruptDataError(
            f"{there} is truncated or damaged: expected gzipped data with MD5 {UNPACKED_MD5[path.name]} once unpacked, "
            f"got a file that does not unpack ({error})",
            hint="delete the file and fetch it again",
        ) from error
    got = hashlib.md5(content, usedforsecurity=False).hexdigest()
    require_checksum(there, expected=UNPACKED_MD5[path.name], got=got)
    return content
