"""CIFAR-10 from its folder or its archive through torchvision."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchbench.builtin.datasets.cifar10 import Cifar10
from benchbench.builtin.torchvision_import import import_torchvision
from benchbench.contract import CorruptDataError, DataSource, MissingDataError

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 3 * 32 * 32), dtype=np.uint8)
NAMES = [f"kind {k}" for k in range(10)]


def old_pickle(entry: dict[str, Any]) -> bytes:
    """Protocol 2 with dtype flags 0 and 1, as the NumPy of 2009 wrote them."""
    return pickle.dumps(entry, protocol=2).replace(b"\x89\x88\x87R", b"K\x00K\x01\x87R")


def contents() -> dict[str, bytes]:
    files = {
        f"data_batch_{k}": old_pickle({"data": (PIXELS + k).astype(np.uint8), "labels": [k, k + 1]})
        for k in range(1, 6)
    }
    files["test_batch"] = old_pickle({"data": PIXELS, "labels": [0, 9]})
    files["batches.meta"] = pickle.dumps({"label_names": NAMES}, protocol=2)
    return files


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Any:
    """torchvision's class with the checksums of the small files."""
    reader = import_torchvision().datasets.CIFAR10
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in contents().items()}
    monkeypatch.setattr(reader, "train_list", [[f"data_batch_{k}", md5[f"data_batch_{k}"]] for k in range(1, 6)])
    monkeypatch.setattr(reader, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": md5["batches.meta"]})
    return reader


@pytest.fixture
def folder(source: DataSource, reader: Any) -> Path:
    folder = source.root / "cifar-10-batches-py"
    folder.mkdir()
    for name, content in contents().items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def archive(source: DataSource, reader: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive, with a member beside the known ones that tries to leave the folder."""
    path = source.root / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        members = {f"cifar-10-batches-py/{name}": content for name, content in contents().items()}
        for name, content in {**members, "../escaped": b"!"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    monkeypatch.setattr(reader, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    return path


def test_cifar10_reads_the_folder_channels_first(
    source: DataSource, folder: Path, snapshot: Callable[[Path], object]
) -> None:
    before = snapshot(source.root)
    splits = Cifar10().load(source)
    assert np.array_equal(splits.test.inputs.numpy(), PIXELS.reshape(2, 3, 32, 32))
    assert splits.train.labels.tolist() == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
    assert splits.classes == tuple(NAMES)
    assert snapshot(source.root) == before


def test_cifar10_unpacks_an_archive_into_the_cache_and_nothing_else(
    source: DataSource, archive: Path, snapshot: Callable[[Path], object]
) -> None:
    before = snapshot(source.root)
    assert len(Cifar10().load(source).train) == 10
    assert snapshot(source.root) == before
    written = {str(path.relative_to(source.cache)) for path in source.cache.rglob("*") if path.is_file()}
    assert written == {f"cifar-10/cifar-10-batches-py/{name}" for name in contents()}
    assert not list(source.root.parent.rglob("escaped"))


def test_cifar10_unpacks_again_when_the_cache_is_damaged(source: DataSource, archive: Path) -> None:
    Cifar10().load(source)
    (source.cache / "cifar-10" / "cifar-10-batches-py" / "test_batch").write_bytes(b"damaged")
    assert len(Cifar10().load(source).test) == 2


def test_cifar10_does_not_unpickle_a_batch_whose_checksum_differs(source: DataSource, folder: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (folder / "exploded",))

    (folder / "data_batch_3").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CorruptDataError, match=r"data_batch_3.*expected MD5"):
        Cifar10().load(source)
    assert not (folder / "exploded").exists()


def test_cifar10_reads_the_archive_where_the_folder_is_damaged(
    source: DataSource, folder: Path, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = folder / "data_batch_3"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
    assert Cifar10().load(source).train.labels.tolist() == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
    assert str(damaged) in caplog.text


def test_cifar10_refuses_a_truncated_archive(source: DataSource, archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(CorruptDataError, match=r"cifar-10-python.tar.gz.*expected MD5"):
        Cifar10().load(source)


def test_cifar10_names_a_batch_that_is_not_there(source: DataSource, folder: Path) -> None:
    (folder / "data_batch_2").unlink()
    with pytest.raises(MissingDataError, match=r"no file .*data_batch_2"):
        Cifar10().load(source)


def test_missing_cifar10_says_how_to_fetch_it(source: DataSource) -> None:
    with pytest.raises(MissingDataError) as caught:
        Cifar10().load(source)
    assert caught.value.fetch.startswith("benchbench data fetch cifar-10 --data ")
