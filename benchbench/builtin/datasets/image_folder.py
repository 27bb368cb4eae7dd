"""A folder of images, one folder per class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from benchbench.builtin.datasets.folders import (
    ClassFolder,
    beside_classes,
    class_names,
    find_split,
    lacking_note,
    left_out,
    listed,
    read_class,
    require_images,
    resolve_folder,
)
from benchbench.builtin.datasets.pixels import ImageFile, PixelFormat, Remarks, decode_stack
from benchbench.contract import DataError, DatasetSplits, DataSource, Examples

_TRAIN = ("train",)
_TEST = ("test", "val", "validation", "valid")


class ImageFolder:
    """Images in ``<path>/train/<class>/`` and ``<path>/test/<class>/``, uint8 (N, C, H, W).

    Classes are the folders of ``train``, sorted by name; images are sorted by name within their class. If ``test`` is
    missing or has no class folders (hidden labels), ``val``, ``validation`` or ``valid`` takes its place. EXIF rotations are
    applied. The notes count and name what is left out.

    Args:
        path: the folder, absolute or below the data root.
        size: resize the shorter side to this and crop the centre; without it, all images must have one size.
        grayscale: one channel instead of three.
    """

    def __init__(self, *, path: str, size: int | None = None, grayscale: bool = False) -> None:
        self.path = path
        self.pixel_format = PixelFormat(shorter_side=size, crop=size, grayscale=grayscale)

    def load(self, source: DataSource) -> DatasetSplits:
        """Read both splits; data that do not fit, or links out of the folder, are a DataError."""
        folder = resolve_folder("image-folder", self.path, source)
        train, test = find_split(folder, _TRAIN), find_split(folder, _TEST)
        classes = class_names(train)
        if unknown := sorted(set(class_names(test)) - set(classes)):
            raise DataError(f"{test} has classes that {train} lacks: {', '.join(unknown[:5])}")
        found = {split: {name: read_class(split / name) for name in class_names(split)} for split in (train, test)}
        for split, content in found.items():
            require_images(split, content)
            _require_within((path for one in content.values() for path in one.images), folder)
        remarks = Remarks()
        examples = {split: self._read_split(content, classes, remarks) for split, content in found.items()}
        lacking = sorted(set(classes) - set(class_names(test)))
        return DatasetSplits(
            train=examples[train],
            test=examples[test],
            classes=classes,
            notes=(*_notes(folder, found), *lacking_note(str(test), lacking, len(classes)), *remarks.notes(folder)),
        )

    def locate(self, source: DataSource) -> None:
        """Raise a MissingDataError if the folder or a split is not there; no image is read."""
        folder = resolve_folder("image-folder", self.path, source)
        find_split(folder, _TRAIN)
        find_split(folder, _TEST)

    def _read_split(self, content: Mapping[str, ClassFolder], classes: tuple[str, ...], remarks: Remarks) -> Examples:
        import torch

        files: list[ImageFile] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            paths = content.get(name, ClassFolder()).images
            files += [ImageFile(name=str(path), content=path) for path in paths]
            labels += [label] * len(paths)
        images = decode_stack(files, self.pixel_format, remarks)
        return Examples(inputs=torch.from_numpy(images), labels=torch.tensor(labels, dtype=torch.int64))


def _notes(folder: Path, found: Mapping[Path, Mapping[str, ClassFolder]]) -> list[str]:
    """Notes on files of the two splits and folders beside them that are not read."""
    notes = [note for split, content in found.items() for note in left_out(split, content.values())]
    notes += [note for split in found for note in beside_classes(split)]
    splits = [split.name for split in found]
    unread = [name for name in class_names(folder) if name not in splits]
    return notes + ([f"{folder}: not read: {listed(unread)}; the splits are {' and '.join(splits)}"] if unread else [])


def _require_within(paths: Iterable[Path], folder: Path) -> None:
    """Refuse symbolic links out of the folder: they could expose the user's other files."""
    root = folder.resolve()
    for path in paths:
        if not path.resolve().is_relative_to(root):
            raise DataError(f"{path} is a symbolic link that leaves {folder}", hint="copy the images instead")
