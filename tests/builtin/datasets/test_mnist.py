"""MNIST from gzipped and plain IDX files."""

from __future__ import annotations

import gzip
import hashlib
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchbench.builtin.datasets import mnist
from benchbench.builtin.datasets.mnist import Mnist
from benchbench.contract import CorruptDataError, DataSource, MissingDataError

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
LABELS = np.array([7, 0, 9], dtype=np.uint8)


def idx(values: np.ndarray[Any, Any]) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


@pytest.fixture
def raw(source: DataSource, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four gzipped files of three images, with their checksums in place of the real ones."""
    folder = source.root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    checksums = {}
    for name in mnist.UNPACKED_MD5:
        content = idx(IMAGES if "images" in name else LABELS)
        checksums[name] = hashlib.md5(content).hexdigest()
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    monkeypatch.setattr(mnist, "UNPACKED_MD5", checksums)
    return folder


def test_mnist_reads_gzipped_files_with_shapes_and_values_kept(source: DataSource, raw: Path) -> None:
    splits = Mnist().load(source)
    assert splits.input_shape == (1, 4, 5)
    assert splits.train.inputs[:, 0].numpy().tolist() == IMAGES.tolist()
    assert splits.test.labels.tolist() == [7, 0, 9]


def test_mnist_reads_unpacked_files_too(source: DataSource, raw: Path) -> None:
    for packed in raw.glob("*.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    assert len(Mnist().load(source).train) == 3


def test_mnist_writes_nothing_into_the_data_root(
    source: DataSource, raw: Path, snapshot: Callable[[Path], object]
) -> None:
    before = snapshot(source.root)
    Mnist().load(source)
    assert snapshot(source.root) == before
    assert not source.cache.exists()


def test_mnist_names_a_truncated_file(source: DataSource, raw: Path) -> None:
    file = raw / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(CorruptDataError, match=r"train-images-idx3-ubyte.gz is truncated or damaged: expected"):
        Mnist().load(source)


def test_mnist_names_file_and_both_checksums_when_a_bit_flipped(source: DataSource, raw: Path) -> None:
    file = raw / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(file.read_bytes()))
    content[-1] ^= 1
    file.write_bytes(gzip.compress(bytes(content)))
    expected = mnist.UNPACKED_MD5["t10k-labels-idx1-ubyte"]
    got = hashlib.md5(content).hexdigest()
    with pytest.raises(CorruptDataError, match=f"t10k-labels.*expected MD5 {expected}, got {got}"):
        Mnist().load(source)


def test_mnist_reads_the_gzipped_file_where_the_plain_one_is_damaged(
    source: DataSource, raw: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = raw / "train-images-idx3-ubyte"
    plain.write_bytes(idx(255 - IMAGES))
    assert Mnist().load(source).train.inputs[:, 0].numpy().tolist() == IMAGES.tolist()
    assert str(plain) in caplog.text


def test_gzipped_file_that_unpacks_to_an_absurd_size_is_refused_before_it_does(source: DataSource, raw: Path) -> None:
    bomb = raw / "t10k-images-idx3-ubyte.gz"
    with gzip.open(bomb, "wb", compresslevel=9) as file:
        for _ in range(200):
            file.write(bytes(2**20))
    assert bomb.stat().st_size < 2**18
    tracemalloc.start()
    with pytest.raises(CorruptDataError, match=bomb.name):
        Mnist().load(source)
    assert tracemalloc.get_traced_memory()[1] < 150 * 2**20
    tracemalloc.stop()


def test_missing_mnist_names_the_first_file_and_the_command_that_fetches_it(source: DataSource) -> None:
    with pytest.raises(MissingDataError, match=r"train-images-idx3-ubyte and 3 more.*BENCHBENCH_DATA") as caught:
        Mnist().load(source)
    assert caught.value.fetch == f"benchbench data fetch mnist --data {source.root}"


def test_failed_download_is_one_missing_data_error(
    source: DataSource, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(root: Path, download: bool) -> None:
        print("Failed to download (trying next)")
        raise OSError("no route to host")

    class Datasets:
        MNIST = staticmethod(fail)

    class Torchvision:
        datasets = Datasets

    monkeypatch.setattr(mnist, "import_torchvision", lambda: Torchvision)
    with pytest.raises(MissingDataError, match=r"download to .* failed: no route to host"):
        Mnist().load(replace(source, download=True))
    assert capsys.readouterr().out == ""


def test_real_mnist_has_the_published_sizes(real_source: DataSource, snapshot: Callable[[Path], object]) -> None:
    if not (real_source.root / "MNIST" / "raw").is_dir():
        pytest.skip(f"no MNIST in {real_source.root}")
    splits = Mnist().load(real_source)
    assert (len(splits.train), len(splits.test), splits.input_shape) == (60_000, 10_000, (1, 28, 28))
    assert splits.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert splits.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert int(splits.train.inputs.max()) == 255
