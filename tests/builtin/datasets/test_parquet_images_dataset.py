"""Images in Parquet files."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchbench.builtin.datasets import parquet_images
from benchbench.builtin.datasets.parquet_images import ParquetImages
from benchbench.contract import CorruptDataError, DataError, DataSource, MissingDataError

LEVELS = [5, 60, 200]


def png(level: int, side: int = 6) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), level, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def table(levels: list[int], *, names: list[str] | None = None, column: str = "image", **changes: Any) -> pa.Table:
    columns: dict[str, Any] = {
        column: [{"bytes": png(level), "path": None} for level in levels],
        "label": pa.array([k % 2 for k in range(len(levels))], type=pa.int64()),
    }
    made = pa.table({**columns, **changes})
    if names is None:
        return made
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


@pytest.fixture
def folder(source: DataSource) -> Path:
    folder = source.root / "pictures"
    folder.mkdir()
    pq.write_table(table(LEVELS[:2], names=["cat", "dog"]), folder / "train-00000-of-00002.parquet")
    pq.write_table(table(LEVELS[2:], names=["cat", "dog"]), folder / "train-00001-of-00002.parquet")
    pq.write_table(table(LEVELS, names=["cat", "dog"]), folder / "test-00000-of-00001.parquet")
    return folder


def test_parquet_shards_are_joined_in_order_with_the_names_of_their_metadata(
    source: DataSource, folder: Path, snapshot: Callable[[Path], object]
) -> None:
    before = snapshot(source.root)
    splits = ParquetImages(path="pictures").load(source)
    assert splits.classes == ("cat", "dog")
    assert splits.train.inputs[:, 1, 2, 3].tolist() == LEVELS
    assert splits.train.labels.tolist() == [0, 1, 0]
    assert snapshot(source.root) == before


def test_decoded_pixels_come_from_the_cache_the_second_time(
    source: DataSource, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ParquetImages(path="pictures").load(source)
    monkeypatch.setattr(parquet_images, "decode_stack", lambda *_: pytest.fail("decoded again"))
    second = ParquetImages(path="pictures").load(source)
    assert second.train.inputs.tolist() == first.train.inputs.tolist()


def flip_a_bit(content: bytes) -> bytes:
    return content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]


@pytest.mark.parametrize("damage", [flip_a_bit, lambda content: content[:-9], lambda _: b""])
def test_a_damaged_cache_is_named_set_aside_and_made_again(
    source: DataSource, folder: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    first = ParquetImages(path="pictures").load(source).train.inputs.tolist()
    caches = sorted(source.cache.rglob("*.npy"))
    for cached in caches:
        cached.write_bytes(damage(cached.read_bytes()))
    assert ParquetImages(path="pictures").load(source).train.inputs.tolist() == first
    for cached in caches:
        assert cached.with_name(f"{cached.name}.corrupt").exists()
        assert str(cached) in caplog.text


def test_a_cache_whose_digest_is_lost_is_made_again(source: DataSource, folder: Path) -> None:
    first = ParquetImages(path="pictures").load(source).train.inputs.tolist()
    for digest in source.cache.rglob("*.sha256"):
        digest.unlink()
    assert ParquetImages(path="pictures").load(source).train.inputs.tolist() == first
    assert list(source.cache.rglob("*.sha256"))


def test_changed_files_and_options_do_not_hit_the_old_cache(source: DataSource, folder: Path) -> None:
    ParquetImages(path="pictures").load(source)
    assert ParquetImages(path="pictures", size=3).load(source).input_shape == (3, 3, 3)
    pq.write_table(table([9], names=["cat", "dog"]), folder / "train-00001-of-00002.parquet")
    assert ParquetImages(path="pictures").load(source).train.inputs[:, 0, 0, 0].tolist() == [5, 60, 9]


def test_a_cache_that_cannot_be_written_is_no_error(source: DataSource, folder: Path) -> None:
    source.cache.write_text("a file where the folder should be")
    assert len(ParquetImages(path="pictures").load(source).train) == 3


def test_plain_binary_columns_of_other_names_are_read(source: DataSource, folder: Path) -> None:
    made = table(LEVELS, img=pa.array([png(level) for level in LEVELS])).drop_columns(["image"])
    for split in ("train", "test"):
        for old in folder.glob(f"{split}-*"):
            old.unlink()
        pq.write_table(made.rename_columns({"label": "fine_label"}), folder / f"{split}-0.parquet")
    splits = ParquetImages(path="pictures", grayscale=True).load(source)
    assert splits.test.inputs[:, 0, 0, 0].tolist() == LEVELS
    assert splits.classes == ("0", "1")


def test_an_unknown_column_is_named_beside_those_there(source: DataSource, folder: Path) -> None:
    with pytest.raises(DataError, match="no column colour") as caught:
        ParquetImages(path="pictures", label_column="colour").load(source)
    assert caught.value.hint == "its columns: image, label"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (table([1], label=pa.array(["cat"])), "must hold integers"),
        (table([1], label=pa.array([None], type=pa.int64())), "without nulls"),
        (table([1, 2], image=pa.array([png(1), None])), "1 rows of column 'image' hold no image bytes"),
        (table([1], image=pa.array(["cat.png"])), "encoded images or a struct"),
    ],
)
def test_columns_of_another_type_or_with_nulls_are_refused(
    source: DataSource, folder: Path, broken: pa.Table, message: str
) -> None:
    pq.write_table(broken, folder / "test-00000-of-00001.parquet")
    with pytest.raises(DataError, match=message):
        ParquetImages(path="pictures").load(source)


def test_a_damaged_image_is_named_by_file_and_row(source: DataSource, folder: Path) -> None:
    pq.write_table(table([1, 2], image=pa.array([png(1), png(2)[:50]])), folder / "test-00000-of-00001.parquet")
    with pytest.raises(CorruptDataError, match=r"test-00000-of-00001.parquet row 1 is damaged"):
        ParquetImages(path="pictures").load(source)


def test_a_truncated_parquet_file_is_named(source: DataSource, folder: Path) -> None:
    file = folder / "train-00001-of-00002.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(CorruptDataError, match=r"train-00001-of-00002.parquet is truncated"):
        ParquetImages(path="pictures").load(source)


def test_a_folder_without_a_test_split_says_so(source: DataSource, folder: Path) -> None:
    (folder / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(MissingDataError, match=r"has no test-\*.parquet"):
        ParquetImages(path="pictures").load(source)


def test_real_jpegs_in_parquet_load_with_their_class_names(real_source: DataSource) -> None:
    if not (real_source.root / "cifar10-jpeg").is_dir():
        pytest.skip(f"no cifar10-jpeg in {real_source.root}")
    test = ParquetImages(path="cifar10-jpeg")._read_split(real_source, "test")
    assert (tuple(test.examples.inputs.shape), test.classes[0]) == ((10_000, 3, 32, 32), "airplane")
    assert test.examples.labels.bincount().tolist() == [1000] * 10
