"""Folders of images, and how images are decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from benchbench.builtin.datasets.image_folder import ImageFolder
from benchbench.builtin.datasets.pixels import ImageFile, PixelFormat, Remarks, decode
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


def test_nothing_is_said_where_every_image_is_read(source: DataSource, pets: Path) -> None:
    (pets / "train" / "cat" / "notes.txt").unlink()
    for hidden in (".DS_Store", "._0.png", ".thumbnails/0.png"):
        (pets / "train" / "cat" / hidden).parent.mkdir(exist_ok=True)
        (pets / "train" / "cat" / hidden).write_bytes(b"no image")
    (pets / "train" / "cat" / "0.png").rename(pets / "train" / "cat" / "0.PNG")
    splits = ImageFolder(path="pets").load(source)
    assert (len(splits.train), splits.notes) == (4, ())


def test_files_that_are_left_out_are_counted_and_named(source: DataSource, pets: Path) -> None:
    for number in range(5):
        (pets / "test" / "dog" / f"{number}.gif").write_bytes(b"GIF")
    write_image(pets / "train" / "dog" / "more" / "9.png")
    write_image(pets / "train" / "9.png")
    (pets / "train" / "cat" / "gone.png").symlink_to(pets / "nowhere.png")
    (pets / "extra" / "dog").mkdir(parents=True)
    splits = ImageFolder(path="pets").load(source)
    assert (len(splits.train), len(splits.test)) == (4, 4)
    others, deeper, gifs, loose, folders = splits.notes
    assert "train: left out 2 files of other kinds" in others
    assert "cat/gone.png, cat/notes.txt;" in others
    assert "train: left out 1 file in folders inside class folders: dog/more/9.png" in deeper
    assert "test: left out 5 files of other kinds" in gifs
    assert "dog/0.gif, dog/1.gif, dog/2.gif and 2 more; convert images to PNG" in gifs
    assert "train: left out 1 file beside the class folders: 9.png" in loose
    assert folders.endswith("not read: extra; the splits are train and test")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_folder_without_readable_images_is_refused_with_what_it_holds(
    source: DataSource, pets: Path, split: str
) -> None:
    for number in range(2):
        (pets / split / "dog" / f"{number}.png").rename(pets / split / "dog" / f"{number}.gif")
    with pytest.raises(DataError, match=f"{split} has no images .* for 1 of its classes: dog") as caught:
        ImageFolder(path="pets").load(source)
    assert "dog/0.gif, dog/1.gif; convert images to PNG" in caught.value.hint


def test_training_classes_without_test_images_are_named(source: DataSource, pets: Path) -> None:
    write_image(pets / "train" / "mouse" / "0.png")
    splits = ImageFolder(path="pets").load(source)
    assert splits.classes == ("cat", "dog", "mouse")
    assert splits.notes[-1].endswith("test has no images of 1 of 3 classes: mouse")


@pytest.mark.parametrize("name", ["val", "validation", "valid"])
def test_a_test_folder_without_classes_gives_way_to_validation(source: DataSource, pets: Path, name: str) -> None:
    (pets / "test").rename(pets / name)
    write_image(pets / "test" / "0.png")
    splits = ImageFolder(path="pets").load(source)
    assert splits.test.labels.tolist() == [0, 0, 1, 1]
    assert splits.notes[-1].endswith(f"not read: test; the splits are train and {name}")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_exif_entry_says(tmp_path: Path, orientation: int) -> None:
    write_image(tmp_path / "image.png", width=7, height=5)
    image = Image.open(tmp_path / "image.png")
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.png", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "turned.png"))).transpose(2, 0, 1)
    file = ImageFile(name="turned", content=tmp_path / "turned.png")
    assert np.array_equal(decode(file, PixelFormat()), expected)
    assert decode(file, PixelFormat(upright=False)).shape == (3, 5, 7)


def test_transparency_and_further_frames_are_remarked(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (4, 4, 4), dtype=np.uint8)
    see_through, opaque = (
        Image.fromarray(pixels),
        Image.fromarray(np.dstack([pixels[..., :3], np.full((4, 4), 255, np.uint8)])),
    )
    see_through.save(tmp_path / "alpha.png")
    opaque.save(tmp_path / "opaque.png")
    palette = Image.fromarray(pixels[..., :3]).quantize(8)
    palette.save(tmp_path / "palette.png", transparency=bytes([0, 100, 255]))
    opaque.convert("RGB").save(tmp_path / "frames.tiff", save_all=True, append_images=[see_through.convert("RGB")])
    remarks = Remarks()
    decoded = {
        path.name: decode(ImageFile(name=path.name, content=path), PixelFormat(), remarks)
        for path in sorted(tmp_path.iterdir())
    }
    assert remarks.files == {
        "transparency": ["alpha.png", "palette.png"],
        "all frames but the first": ["frames.tiff"],
    }
    for name in ("alpha.png", "opaque.png", "frames.tiff"):
        assert np.array_equal(decoded[name], pixels[..., :3].transpose(2, 0, 1))
    assert np.array_equal(decoded["palette.png"], np.asarray(palette.convert("RGB")).transpose(2, 0, 1))
    assert remarks.notes(Path("pets"))[1] == "pets: transparency left out of 2 images: alpha.png, palette.png"


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "L", "1", "P"])
def test_every_eight_bit_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    write_image(tmp_path / "image.png")
    image = Image.open(tmp_path / "image.png").convert(mode)
    image.save(tmp_path / "image.tiff")
    decoded = decode(ImageFile(name="image", content=tmp_path / "image.tiff"), PixelFormat())
    assert np.array_equal(decoded, np.asarray(image.convert("RGB")).transpose(2, 0, 1))


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
