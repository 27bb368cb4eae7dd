"""Street View House Numbers, cropped digits (Netzer et al., 2011), through torchvision."""

from __future__ import annotations

from pathlib import Path

from benchbench.builtin.datasets.raw_files import file_md5, require_checksum, require_files
from benchbench.builtin.torchvision_import import import_torchvision
from benchbench.contract import DatasetExtent, DatasetSplits, DataSource, Examples, SplitName

_FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}


class Svhn:
    """73,257 training and 26,032 test images of house-number digits, uint8 (N, 3, 32, 32).

    The files ``train_32x32.mat`` and ``test_32x32.mat`` lie in the data root itself, as torchvision puts them. The digit 0,
    labelled 10 in the files, gets label 0.
    """

    def load(self, source: DataSource) -> DatasetSplits:
        """Read both splits, and compare the MD5 of each file with the published one."""

        def download() -> None:
            for split in _FILES:
                import_torchvision().datasets.SVHN(source.root, split=split, download=True)

        require_files("svhn", source, _lacking, download)
        return DatasetSplits(
            train=_read_split(source, "train"), test=_read_split(source, "test"), classes=tuple("0123456789")
        )

    def extent(self) -> DatasetExtent:
        """The size of what `load` gives."""
        return DatasetExtent(train=73_257, test=26_032, input_shape=(3, 32, 32), classes=10)

    def locate(self, source: DataSource) -> None:
        """Raise a MissingDataError if a file is not there; nothing is read."""
        require_files("svhn", source, _lacking)


def _lacking(source: DataSource) -> list[Path]:
    paths = [source.root / name for name in _FILES.values()]
    return [path for path in paths if not path.is_file()]


def _read_split(source: DataSource, split: SplitName) -> Examples:
    import numpy as np
    import torch

    reader = import_torchvision().datasets.SVHN
    path = source.root / _FILES[split]
    require_checksum(path, expected=reader.split_list[split][2], got=file_md5(path))
    loaded = reader(source.root, split=split)
    return Examples(
        inputs=torch.from_numpy(np.ascontiguousarray(loaded.data)),
        labels=torch.from_numpy(loaded.labels.astype(np.int64)),
    )
