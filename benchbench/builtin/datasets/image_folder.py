"""Any folder of images, one folder per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchbench.builtin.datasets.folders import resolve_folder
from benchbench.builtin.datasets.pixels import ImageFile, PixelFormat, decode_stack
from benchbench.contract import DataError, DatasetSplits, DataSource, Examples, MissingDataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"})


class ImageFolder:
    """Images in ``<path>/train/<class>/`` and ``<path>/test/<class>/`` (or ``val``), uint8 (N, C, H, W).

    Classes are the folders of ``train``, sorted by name; images are sorted by name within their class.

    Args:
        path: the folder, absolute or below the data root.
        size: resize the shorter side to this and crop the centre; without it, all images must have one size.
        grayscale: one channel instead of three.

    Raises:
        OptionError: `size` is below 1.
    """

    def __init__(self, *, path: str, size: int | None = None, grayscale: bool = False) -> None:
        self.path = path
        self.pixel_format = PixelFormat(shorter_side=size, crop=size, grayscale=grayscale)

    def load(self, source: DataSource) -> DatasetSplits:
        """Read both splits.

        Raises:
            MissingDataError: the folder or one of its splits is not there.
            CorruptDataError: a file is truncated or no image.
            DataError: a class of the test split is not in the training split, images differ in size, a split has no
                images, or a symbolic link leaves the folder.
        """
        folder = resolve_folder("image-folder", self.path, source)
        train = find_split(folder, ("train",))
        test = find_split(folder, ("test", "val"))
        classes = class_names(train)
        if unknown := sorted(set(class_names(test)) - set(classes)):
            raise DataError(f"{test} has classes that {train} lacks: {', '.join(unknown[:5])}")
        return DatasetSplits(
            train=self._read_split(folder, train, classes),
            test=self._read_split(folder, test, classes),
            classes=classes,
        )

    def locate(self, source: DataSource) -> None:
        """Check that the folder and its splits are there, without reading images.

        Raises:
            MissingDataError: one is not there.
        """
        folder = resolve_folder("image-folder", self.path, source)
        find_split(folder, ("train",))
        find_split(folder, ("test", "val"))

    def _read_split(self, folder: Path, split: Path, classes: Sequence[str]) -> Examples:
        import torch

        files: list[ImageFile] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            paths = image_paths(split / name)
            _require_within(paths, folder)
            files += [ImageFile(name=str(path), content=path) for path in paths]
            labels += [label] * len(paths)
        if not files:
            raise DataError(f"{split} has no images ({', '.join(sorted(SUFFIXES))}) in its class folders")
        images = decode_stack(files, self.pixel_format)
        return Examples(inputs=torch.from_numpy(images), labels=torch.tensor(labels, dtype=torch.int64))


def find_split(folder: Path, names: Sequence[str]) -> Path:
    """The first of the named folders that is there.

    Raises:
        MissingDataError: none is.
    """
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    wanted = " or ".join(repr(name) for name in names)
    raise MissingDataError(
        f"{folder} has no folder {wanted}", fetch=f"arrange the images as {folder / names[0]}/<class>/<image>"
    )


def class_names(split: Path) -> tuple[str, ...]:
    """Names of the class folders, sorted; hidden ones do not count."""
    return tuple(sorted(entry.name for entry in split.iterdir() if entry.is_dir() and not entry.name.startswith(".")))


def image_paths(folder: Path) -> list[Path]:
    """Image files of a class folder, sorted; none when the folder is not there."""
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file()]


def _require_within(paths: Sequence[Path], folder: Path) -> None:
    """Refuse symbolic links out of the folder: a folder from elsewhere must not read the user's other files."""
    root = folder.resolve()
    for path in paths:
        if not path.resolve().is_relative_to(root):
            raise DataError(f"{path} is a symbolic link that leaves {folder}", hint="copy the images instead")
