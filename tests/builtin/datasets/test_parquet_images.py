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
from benchbench.builtin.datasets.shards import Shards
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
        (table([1, 2], label=pa.array([1, None], type=pa.int64())), "without nulls"),
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


def labelled(labels: list[int | None], **changes: Any) -> pa.Table:
    return table([10 * (k + 1) for k in range(len(labels))], label=pa.array(labels, type=pa.int64()), **changes)


def replace_files(folder: Path, **tables: pa.Table) -> None:
    for old in folder.iterdir():
        old.unlink()
    for name, content in tables.items():
        pq.write_table(content, folder / f"{name}-00000-of-00001.parquet")


@pytest.mark.parametrize(
    ("train", "test", "classes", "numbers"),
    [
        ([1, 2, 3, 1], [3, 1], ("1", "2", "3"), ([0, 1, 2, 0], [2, 0])),
        ([0, 7, 3], [3], ("0", "3", "7"), ([0, 2, 1], [1])),
        ([2, 0, 1], [1, 2], ("0", "1", "2"), ([2, 0, 1], [1, 2])),
    ],
)
def test_without_names_the_labels_that_occur_are_the_classes(
    source: DataSource,
    folder: Path,
    train: list[int | None],
    test: list[int | None],
    classes: tuple[str, ...],
    numbers: tuple[list[int], list[int]],
) -> None:
    replace_files(folder, train=labelled(train), test=labelled(test))
    splits = ParquetImages(path="pictures").load(source)
    assert splits.classes == classes
    assert (splits.train.labels.tolist(), splits.test.labels.tolist()) == numbers


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [([0, 1], [1, 4], "test labels that training lacks: 4"), ([-1, 0, 1], [0], "train has labels below 0: -1")],
)
def test_labels_without_names_that_cannot_be_learnt_are_refused(
    source: DataSource, folder: Path, train: list[int | None], test: list[int | None], message: str
) -> None:
    replace_files(folder, train=labelled(train), test=labelled(test))
    with pytest.raises(DataError, match=message):
        ParquetImages(path="pictures").load(source)


@pytest.mark.parametrize(
    "hidden",
    [labelled([-1, -1]), labelled([None, None]), labelled([0, 0]).drop_columns(["label"])],
    ids=["negative", "null", "no column"],
)
@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_hidden_test_labels_give_way_to_validation(
    source: DataSource, folder: Path, hidden: pa.Table, name: str
) -> None:
    replace_files(folder, train=labelled([0, 1]), test=hidden, **{name: labelled([1, 0, 1])})
    splits = ParquetImages(path="pictures").load(source)
    assert splits.test.labels.tolist() == [1, 0, 1]
    unread, why = splits.notes
    assert unread.endswith(f"not read: test-00000-of-00001.parquet; the splits are train and {name}")
    assert "the labels of test are hidden" in why


def test_hidden_test_labels_without_validation_are_refused(source: DataSource, folder: Path) -> None:
    replace_files(folder, train=labelled([0, 1]), test=labelled([-1, -1]))
    with pytest.raises(DataError, match="the labels of test are hidden") as caught:
        ParquetImages(path="pictures").load(source)
    assert "validation-*.parquet" in caught.value.hint


def test_test_labels_that_are_known_win_over_validation_which_is_named(source: DataSource, folder: Path) -> None:
    pq.write_table(labelled([1]), folder / "validation-00000-of-00001.parquet")
    pq.write_table(labelled([1]), folder / "TRAIN-00002.PARQUET")
    splits = ParquetImages(path="pictures").load(source)
    assert len(splits.test) == 3
    (note,) = splits.notes
    assert "not read: TRAIN-00002.PARQUET, validation-00000-of-00001.parquet; the splits are train and test" in note


def test_missing_shards_and_classes_without_images_are_named(source: DataSource, folder: Path) -> None:
    (folder / "train-00001-of-00002.parquet").unlink()
    pq.write_table(table(LEVELS[:1], names=["cat", "dog"]), folder / "test-00000-of-00001.parquet")
    shards, classes = ParquetImages(path="pictures").load(source).notes
    assert "1 of the 2 files of train are here" in shards
    assert classes.endswith("test has no images of 1 of 2 classes: dog")


def test_shards_that_name_different_classes_are_refused(source: DataSource, folder: Path) -> None:
    pq.write_table(table(LEVELS, names=["dog", "cat"]), folder / "train-00001-of-00002.parquet")
    with pytest.raises(DataError, match="the files of train in pictures name different classes"):
        ParquetImages(path="pictures").load(source)


def test_images_are_turned_as_exif_says_and_remarks_outlive_the_cache(source: DataSource, folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 6, 4), dtype=np.uint8)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", exif=exif)
    one = table(LEVELS[:1], image=pa.array([buffer.getvalue()]), names=["cat", "dog"])
    pq.write_table(one, folder / "train-00001-of-00002.parquet")
    first, second = (ParquetImages(path="pictures").load(source) for _ in range(2))
    assert np.array_equal(first.train.inputs[-1].numpy(), np.rot90(pixels[..., :3], -1).transpose(2, 0, 1))
    assert "transparency left out of 1 image: " in first.notes[0]
    assert first.notes[0].endswith("train-00001-of-00002.parquet row 0")
    assert second.notes == first.notes


def test_a_folder_without_a_test_split_says_so(source: DataSource, folder: Path) -> None:
    (folder / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(MissingDataError, match=r"has no test-\*.parquet"):
        ParquetImages(path="pictures").load(source)


def test_real_jpegs_in_parquet_load_with_their_class_names(real_source: DataSource) -> None:
    if not (real_source.root / "cifar10-jpeg").is_dir():
        pytest.skip(f"no cifar10-jpeg in {real_source.root}")
    shards = Shards(name="test", paths=(real_source.root / "cifar10-jpeg" / "test-00000-of-00001.parquet",))
    test = ParquetImages(path="cifar10-jpeg")._read_split(real_source, shards)
    assert (tuple(test.examples.inputs.shape), test.classes[0]) == ((10_000, 3, 32, 32), "airplane")
    assert test.examples.labels.bincount().tolist() == [1000] * 10


def test_file_whose_dictionary_repeats_an_image_is_refused_before_it_is_unpacked(
    source: DataSource, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_images, "LEAST_LIMIT", 2**20)
    repeated = pa.table({"image": [{"bytes": b"x" * 2**14}] * 5000, "label": [0] * 5000})
    pq.write_table(repeated, folder / "train-0.parquet", compression="zstd")
    assert (folder / "train-0.parquet").stat().st_size < 2**15
    with pytest.raises(CorruptDataError, match="unpacks to more than 10 times its size"):
        ParquetImages(path=folder.name).load(source)
