"""Folders of images, and how images are decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchbench.builtin.datasets.image_folder import ImageFolder
from benchbench.builtin.datasets.pixels import ImageFile, PixelFormat, decode
from benchbench.builtin.torchvision_import import import_torchvision
from benchbench.contract import CorruptDataError, DataError, DataSource, MissingDataError, OptionError


def write_image(path: Path, *, width: int = 8, height: int = 8, value: int | None = None, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if value is not None:
        pixels[:] = value
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pets(source: DataSource) -> Path:
    folder = source.root / "pets"
    for split in ("train", "test"):
        for level, name in ((200, "dog"), (10, "cat")):
            for number in range(2):
                write_image(folder / split / name / f"{number}.png", value=level + number)
    (folder / "train" / "cat" / "notes.txt").write_text("no image")
    return folder


def test_image_folder_sorts_classes_and_images_by_name(source: DataSource, pets: Path) -> None:
    splits = ImageFolder(path="pets").load(source)
    assert splits.classes == ("cat", "dog")
    assert splits.train.labels.tolist() == [0, 0, 1, 1]
    assert splits.train.inputs[:, 0, 0, 0].tolist() == [10, 11, 200, 201]
    assert (splits.input_shape, splits.train.inputs.dtype) == ((3, 8, 8), torch.uint8)


def test_image_folder_takes_an_absolute_path_a_val_folder_and_grey_images(source: DataSource, pets: Path) -> None:
    (pets / "test").rename(pets / "val")
    elsewhere = DataSource(root=source.root / "elsewhere", cache=source.cache)
    splits = ImageFolder(path=str(pets), grayscale=True).load(elsewhere)
    assert splits.input_shape == (1, 8, 8)
    assert splits.test.inputs[:, 0, 3, 3].tolist() == [10, 11, 200, 201]


def test_images_of_two_sizes_need_the_option_size(source: DataSource, pets: Path) -> None:
    write_image(pets / "train" / "dog" / "9.png", width=12, height=9)
    with pytest.raises(DataError, match=r"0.png is 8x8, .*9.png is 12x9") as caught:
        ImageFolder(path="pets").load(source)
    assert "size" in caught.value.hint
    assert ImageFolder(path="pets", size=6).load(source).input_shape == (3, 6, 6)


@pytest.mark.parametrize(("width", "height"), [(11, 7), (7, 11), (9, 9), (20, 5)])
def test_resizing_and_cropping_equal_torchvisions(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "image.png"
    write_image(path, width=width, height=height)
    ours = decode(ImageFile(name="image", content=path), PixelFormat(shorter_side=6, crop=5))
    transforms = import_torchvision().transforms
    reference = transforms.Compose([transforms.Resize(6), transforms.CenterCrop(5), transforms.PILToTensor()])
    assert np.array_equal(ours, reference(Image.open(path)).numpy())


def test_image_folder_names_a_truncated_image(source: DataSource, pets: Path) -> None:
    path = pets / "test" / "cat" / "1.png"
    write_image(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(CorruptDataError, match=r"test/cat/1.png is damaged or no image"):
        ImageFolder(path="pets").load(source)


def test_image_folder_refuses_links_that_leave_it(source: DataSource, pets: Path) -> None:
    write_image(source.root / "private.png")
    (pets / "train" / "cat" / "link.png").symlink_to(source.root / "private.png")
    with pytest.raises(DataError, match=r"link.png is a symbolic link that leaves"):
        ImageFolder(path="pets").load(source)


def test_image_folder_follows_links_inside_it(source: DataSource, pets: Path) -> None:
    (pets / "train" / "cat" / "link.png").symlink_to(pets / "train" / "cat" / "0.png")
    assert len(ImageFolder(path="pets").load(source).train) == 5


def test_image_folder_refuses_a_relative_path_out_of_the_data_root(source: DataSource) -> None:
    with pytest.raises(OptionError, match="leaves the data root"):
        ImageFolder(path="../elsewhere").load(source)


def test_image_folder_names_a_missing_folder_and_a_missing_split(source: DataSource, pets: Path) -> None:
    with pytest.raises(MissingDataError, match=r"no folder .*nothing"):
        ImageFolder(path="nothing").load(source)
    (pets / "test").rename(pets / "held-out")
    with pytest.raises(MissingDataError, match="no folder 'test' or 'val'"):
        ImageFolder(path="pets").load(source)


def test_image_folder_names_test_classes_that_training_lacks(source: DataSource, pets: Path) -> None:
    write_image(pets / "test" / "mouse" / "0.png")
    with pytest.raises(DataError, match="lacks: mouse"):
        ImageFolder(path="pets").load(source)


def test_image_folder_without_images_says_so(source: DataSource) -> None:
    for split in ("train", "test"):
        (source.root / "empty" / split / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="has no images"):
        ImageFolder(path="empty").load(source)


def test_sixteen_bit_images_are_refused_rather_than_clipped(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)).save(path)
    with pytest.raises(DataError, match="8 bits per channel"):
        decode(ImageFile(name="deep", content=path), PixelFormat(grayscale=True))


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "bomb.png", width=30, height=30)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="suspiciously large"):
        decode(ImageFile(name="bomb", content=tmp_path / "bomb.png"), PixelFormat())


def test_size_must_be_positive() -> None:
    with pytest.raises(OptionError, match="at least 1 pixel"):
        ImageFolder(path="pets", size=0)
