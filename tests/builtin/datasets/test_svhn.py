"""SVHN from MATLAB files through torchvision."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from benchbench.builtin.datasets.svhn import Svhn
from benchbench.builtin.torchvision_import import import_torchvision
from benchbench.contract import CorruptDataError, DataSource, MissingDataError

IMAGES = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
DIGITS = np.array([[1], [10], [9], [2]], dtype=np.uint8)


@pytest.fixture
def files(source: DataSource, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files of four images, with their checksums in place of the real ones."""
    reader = import_torchvision().datasets.SVHN
    entries = dict(reader.split_list)
    for split in ("train", "test"):
        path = source.root / f"{split}_32x32.mat"
        savemat(path, {"X": IMAGES, "y": DIGITS})
        entries[split] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(reader, "split_list", entries)
    return source.root


def test_svhn_puts_channels_first_and_calls_the_digit_zero_0(source: DataSource, files: Path) -> None:
    splits = Svhn().load(source)
    assert splits.input_shape == (3, 32, 32)
    assert splits.train.labels.tolist() == [1, 0, 9, 2]
    assert np.array_equal(splits.train.inputs.numpy(), IMAGES.transpose(3, 2, 0, 1))


def test_svhn_writes_nothing_into_the_data_root(
    source: DataSource, files: Path, snapshot: Callable[[Path], object]
) -> None:
    before = snapshot(files)
    Svhn().load(source)
    assert snapshot(files) == before


def test_svhn_names_a_damaged_file_and_both_checksums(source: DataSource, files: Path) -> None:
    path = files / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:-1])
    got = hashlib.md5(path.read_bytes()).hexdigest()
    with pytest.raises(CorruptDataError, match=f"test_32x32.mat.*expected MD5 .*, got {got}"):
        Svhn().load(source)


def test_missing_svhn_says_how_to_fetch_it(source: DataSource) -> None:
    with pytest.raises(MissingDataError, match=r"train_32x32.mat and 1 more") as caught:
        Svhn().load(source)
    assert caught.value.fetch.startswith("benchbench data fetch svhn --data ")
