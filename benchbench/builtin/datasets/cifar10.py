"""CIFAR-10 (Krizhevsky, 2009) in its Python version, through torchvision."""

from __future__ import annotations

import logging
import tarfile
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.builtin.datasets.array_cache import beside
from benchbench.builtin.datasets.raw_files import file_md5, missing_files, require_checksum, require_files
from benchbench.builtin.torchvision_import import import_torchvision
from benchbench.contract import CorruptDataError, DatasetExtent, DatasetSplits, DataSource, Examples

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

_log = logging.getLogger(__name__)
_FOLDER = "cifar-10-batches-py"
_ARCHIVE = "cifar-10-python.tar.gz"


class Cifar10:
    """50,000 training and 10,000 test photographs of ten kinds, uint8 (N, 3, 32, 32).

    The folder ``cifar-10-batches-py`` or the archive ``cifar-10-python.tar.gz`` lies in the data root, as torchvision puts
    them. Without the folder, the archive is unpacked into the cache, because the data root may be read-only. The batches
    are pickles, which can run code: each is unpickled only if its MD5 equals the published one.
    """

    def load(self, source: DataSource) -> DatasetSplits:
        """Read both splits, and compare the MD5 of each file with the published one."""
        require_files(
            "cifar-10", source, _lacking, lambda: import_torchvision().datasets.CIFAR10(source.root, download=True)
        )
        reader = import_torchvision().datasets.CIFAR10
        root = _find_batches(source, reader)
        train, test = _read_split(root, reader, train=True), _read_split(root, reader, train=False)
        return DatasetSplits(train=_examples(train), test=_examples(test), classes=tuple(train.classes))

    def extent(self) -> DatasetExtent:
        """The size of what `load` gives."""
        return DatasetExtent(train=50_000, test=10_000, input_shape=(3, 32, 32), classes=10)

    def locate(self, source: DataSource) -> None:
        """Raise a MissingDataError if neither folder nor archive is there; nothing is read."""
        require_files("cifar-10", source, _lacking)


def _lacking(source: DataSource) -> list[Path]:
    there = (source.root / _FOLDER).is_dir() or (source.root / _ARCHIVE).is_file()
    return [] if there else [source.root / _FOLDER / "data_batch_1"]


def _find_batches(source: DataSource, reader: type[CIFAR10]) -> Path:
    """Folder of the verified batches: the data root, or the cache with the unpacked archive."""
    if (source.root / _FOLDER).is_dir():
        try:
            _verify_batches(source.root / _FOLDER, source, reader)
            return source.root
        except CorruptDataError as error:
            if not (source.root / _ARCHIVE).is_file():
                raise
            _log.warning("%s; %s is read instead", error.message, _ARCHIVE)
    root = _unpack(source, reader)
    _verify_batches(root / _FOLDER, source, reader)
    return root


def _checksums(reader: type[CIFAR10]) -> dict[str, str]:
    """Published MD5 of each file of the folder."""
    return {**dict(reader.train_list + reader.test_list), reader.meta["filename"]: reader.meta["md5"]}


def _verify_batches(folder: Path, source: DataSource, reader: type[CIFAR10]) -> None:
    checksums = _checksums(reader)
    lacking = [folder / name for name in checksums if not (folder / name).is_file()]
    if lacking:
        raise missing_files("cifar-10", source, lacking)
    for name, expected in checksums.items():
        require_checksum(folder / name, expected=expected, got=file_md5(folder / name))


def _unpack(source: DataSource, reader: type[CIFAR10]) -> Path:
    """Unpack the archive's known files into the cache if missing; return the batches' parent."""
    root = source.cache / "cifar-10"
    checksums = _checksums(reader)
    paths = {name: root / _FOLDER / name for name in checksums}
    if all(path.is_file() and file_md5(path) == checksums[name] for name, path in paths.items()):
        return root
    archive = source.root / _ARCHIVE
    require_checksum(archive, expected=reader.tgz_md5, got=file_md5(archive))
    root.joinpath(_FOLDER).mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive) as tar:
            for name, path in paths.items():
                _unpack_member(tar, f"{_FOLDER}/{name}", path)
    except (tarfile.TarError, EOFError, zlib.error, KeyError) as error:
        raise CorruptDataError(
            f"{archive} does not unpack: {error}", hint="delete the file and fetch it again"
        ) from error
    return root


def _unpack_member(tar: tarfile.TarFile, member: str, path: Path) -> None:
    """Write one regular file to a given path: the archive does not choose where."""
    content = tar.extractfile(member)
    if content is None:
        raise tarfile.ReadError(f"{member} is not a regular file")
    with beside(path) as unfinished:
        unfinished.write_bytes(content.read())


def _read_split(root: Path, reader: type[CIFAR10], *, train: bool) -> CIFAR10:
    with warnings.catch_warnings():
        # The batches were pickled by a NumPy that wrote 0 and 1 for False and True; NumPy 2.4 warns about it.
        warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
        return reader(root, train=train)


def _examples(loaded: CIFAR10) -> Examples:
    import numpy as np
    import torch

    return Examples(
        inputs=torch.from_numpy(np.ascontiguousarray(loaded.data.transpose(0, 3, 1, 2))),
        labels=torch.tensor(loaded.targets, dtype=torch.int64),
    )
