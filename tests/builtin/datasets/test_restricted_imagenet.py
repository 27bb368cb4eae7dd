"""Restricted ImageNet from a small folder in the real layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchbench.builtin.datasets import restricted_imagenet
from benchbench.builtin.datasets.array_cache import build_array
from benchbench.builtin.datasets.restricted_imagenet import GROUPS, RestrictedImagenet
from benchbench.contract import CorruptDataError, DataError, DataSource, MissingDataError

MEMBERS = sorted(number for members in GROUPS.values() for number in members)


def wnid(number: int) -> str:
    return f"n{number:08d}"


def level(number: int) -> int:
    return number % 256


@pytest.fixture
def imagenet(source: DataSource) -> Path:
    """1,000 class folders per split; one image in each class of a group, its grey level telling the class."""
    folder = source.root / "imagenet"
    for split, size in (("train", (90, 80)), ("val", (80, 100))):
        for number in range(1000):
            (folder / split / wnid(number)).mkdir(parents=True)
        for number in MEMBERS:
            path = folder / split / wnid(number) / f"{wnid(number)}_1.JPEG"
            Image.new("RGB", size, (level(number),) * 3).save(path, quality=95)
    return folder


def test_the_ranges_are_the_protocols() -> None:
    assert {name: (members.start, members.stop) for name, members in GROUPS.items()} == {
        "dog": (151, 269),
        "cat": (281, 286),
        "frog": (30, 33),
        "turtle": (33, 38),
        "bird": (80, 101),
        "primate": (365, 383),
        "fish": (389, 398),
        "crab": (118, 122),
        "insect": (300, 320),
    }
    assert len(MEMBERS) * 50 == 10_150


def test_images_get_the_label_of_their_group_and_are_cropped_as_stored(source: DataSource, imagenet: Path) -> None:
    splits = RestrictedImagenet().load(source)
    assert splits.classes == tuple(GROUPS)
    expected = [(label, number) for label, members in enumerate(GROUPS.values()) for number in members]
    assert splits.train.labels.tolist() == [label for label, _ in expected]
    levels = splits.test.inputs[:, 0, 32, 32].numpy().astype(int)
    assert np.abs(levels - [level(number) for _, number in expected]).max() <= 2
    assert splits.train.inputs.shape[1:] == (3, 72, 72)
    assert splits.input_shape == (3, 64, 64)
    assert tuple(splits.test.inputs.shape) == (len(MEMBERS), 3, 64, 64)


def test_the_second_load_maps_the_cache_without_decoding(
    source: DataSource, imagenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = RestrictedImagenet().load(source)
    monkeypatch.setattr(restricted_imagenet, "decode_blocks", lambda *_: pytest.fail("decoded again"))
    second = RestrictedImagenet().load(source)
    assert bool((second.train.inputs == first.train.inputs).all())
    assert not list(source.cache.rglob("*.part"))


def test_a_flipped_bit_in_the_cache_is_found_and_the_cache_made_again(source: DataSource, imagenet: Path) -> None:
    first = RestrictedImagenet().load(source).train.inputs.clone()
    cached = next(source.cache.rglob("train-*.npy"))
    content = bytearray(cached.read_bytes())
    content[-100] ^= 1
    cached.write_bytes(content)
    assert bool((RestrictedImagenet().load(source).train.inputs == first).all())
    assert cached.with_name(f"{cached.name}.corrupt").exists()


def test_a_damaged_image_is_named_and_the_build_goes_on_from_there(source: DataSource, imagenet: Path) -> None:
    path = imagenet / "val" / wnid(153) / f"{wnid(153)}_1.JPEG"
    whole = path.read_bytes()
    path.write_bytes(b"\0" * len(whole))
    with pytest.raises(CorruptDataError, match=path.name):
        RestrictedImagenet().load(source)
    path.write_bytes(whole)
    assert len(RestrictedImagenet().load(source).test) == len(MEMBERS)


def test_files_and_classes_that_are_left_out_are_named(source: DataSource, imagenet: Path) -> None:
    assert RestrictedImagenet().load(source).notes == ()
    folder = imagenet / "val" / wnid(151)
    (folder / f"{wnid(151)}_1.JPEG").rename(folder / f"{wnid(151)}_1.JPEG.part")
    splits = RestrictedImagenet().load(source)
    assert len(splits.test) == len(MEMBERS) - 1
    others, classes = splits.notes
    assert "left out 1 file of other kinds than .bmp, .jpeg" in others
    assert classes.endswith(f"val has no images of 1 of {len(MEMBERS)} ImageNet classes: {wnid(151)}")


def test_a_folder_that_lacks_classes_is_refused(source: DataSource, imagenet: Path) -> None:
    (imagenet / "val" / wnid(999)).rmdir()
    with pytest.raises(DataError, match="val has 999 class folders, expected 1000"):
        RestrictedImagenet().load(source)


def test_a_missing_imagenet_is_missing_data(source: DataSource) -> None:
    with pytest.raises(MissingDataError, match=r"no folder .*imagenet"):
        RestrictedImagenet().load(source)


def rows(start: int, stop: int, step: int = 2) -> Iterator[list[np.ndarray]]:
    for first in range(start, stop, step):
        yield [np.full((2, 2), row, dtype=np.uint8) for row in range(first, min(first + step, stop))]


def interrupted(start: int) -> Iterator[list[np.ndarray]]:
    yield from rows(start, 4)
    raise KeyboardInterrupt


def test_an_interrupted_build_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path, starts = tmp_path / "array.npy", []
    with pytest.raises(KeyboardInterrupt):
        build_array(path, (7, 2, 2), interrupted)
    assert not path.exists()

    def rest(start: int) -> Iterator[list[np.ndarray]]:
        starts.append(start)
        return rows(start, 7)

    built = build_array(path, (7, 2, 2), rest)
    assert starts == [4]
    assert built[:, 1, 1].tolist() == list(range(7))


def test_a_row_cut_in_half_is_written_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_array(tmp_path / "array.npy", (7, 2, 2), interrupted)
    part = tmp_path / "array.part"
    part.write_bytes(part.read_bytes()[:-3])
    built = build_array(tmp_path / "array.npy", (7, 2, 2), lambda start: rows(start, 7))
    assert built[:, 0, 0].tolist() == list(range(7))


def test_a_build_of_another_shape_starts_afresh(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_array(tmp_path / "array.npy", (7, 2, 2), interrupted)
    built = build_array(tmp_path / "array.npy", (5, 2, 2), lambda start: rows(start, 5))
    assert built[:, 0, 0].tolist() == list(range(5))


def test_a_full_disk_is_one_clear_error_and_no_array(tmp_path: Path) -> None:
    def full(start: int) -> Iterator[list[np.ndarray]]:
        yield from rows(start, 2)
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match=r"cannot write the cache file .*No space left"):
        build_array(tmp_path / "array.npy", (7, 2, 2), full)
    assert not (tmp_path / "array.npy").exists()
