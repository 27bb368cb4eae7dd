"""Restricted ImageNet, built from ImageNet: nine groups of classes (Tsipras et al., 2019)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from benchbench.builtin.datasets.array_cache import build_array, open_array
from benchbench.builtin.datasets.folders import (
    class_names,
    find_split,
    lacking_note,
    left_out,
    read_class,
    resolve_folder,
)
from benchbench.builtin.datasets.pixels import ImageFile, PixelFormat, decode_blocks
from benchbench.contract import DataError, DatasetExtent, DatasetSplits, DataSource, Examples

GROUPS: Mapping[str, range] = MappingProxyType(
    {
        "dog": range(151, 269),
        "cat": range(281, 286),
        "frog": range(30, 33),
        "turtle": range(33, 38),
        "bird": range(80, 101),
        "primate": range(365, 383),
        "fish": range(389, 398),
        "crab": range(118, 122),
        "insect": range(300, 320),
    }
)
IMAGENET_CLASSES = 1000
SHORTER_SIDE = 72
TEST_CROP = 64

_log = logging.getLogger(__name__)


class RestrictedImagenet:
    """257,748 training and 10,150 test photographs in nine groups, uint8, mapped from disk.

    ImageNet's classes are the folders of ``<path>/train`` and ``<path>/val``, numbered in the order of their names. The
    first load resizes every image (shorter side 72) and writes the pixels, about 4 GB, into the cache; later loads only map
    them. An interrupted build continues where it stopped.

    Test images are the centre 64x64, (N, 3, 64, 64). **Training images are the centre 72x72**, (N, 3, 72, 72): the
    augmentation draws the protocol's random 64x64 crop with padding 8 anew for each epoch. So crops come from the centre
    square, not from the ends of the longer side. The evaluation of training images takes their centre 64x64. EXIF
    rotations are not applied, as in the published protocol. The notes count and name the files that are left out.

    Args:
        path: the ImageNet folder, absolute or below the data root.
    """

    def __init__(self, *, path: str = "imagenet") -> None:
        self.path = path

    def load(self, source: DataSource) -> DatasetSplits:
        """Map both splits, after building the cache if it is not there.

        A split without 1,000 class folders, a group without images and a cache that cannot be written are DataErrors.
        """
        (train, notes), (test, more) = self._load_split(source, "train"), self._load_split(source, "val")
        return DatasetSplits(train=train, test=test, classes=tuple(GROUPS), notes=(*notes, *more))

    def extent(self) -> DatasetExtent:
        """The size of what `load` gives."""
        return DatasetExtent(
            train=257_748, test=10_150, input_shape=(3, 64, 64), classes=9, bytes_per_input=3 * 72 * 72
        )

    def locate(self, source: DataSource) -> None:
        """Raise a MissingDataError if the folder or a split is not there; no image is read."""
        folder = resolve_folder("restricted-imagenet", self.path, source)
        find_split(folder, ("train",))
        find_split(folder, ("val",))

    def _load_split(self, source: DataSource, split: Literal["train", "val"]) -> tuple[Examples, tuple[str, ...]]:
        import torch

        folder = find_split(resolve_folder("restricted-imagenet", self.path, source), (split,))
        files, labels, notes = _list_images(folder)
        side = SHORTER_SIDE if split == "train" else TEST_CROP
        pixel_format = PixelFormat(shorter_side=SHORTER_SIDE, crop=side, upright=False)
        path = source.cache / "restricted-imagenet" / f"{split}-{side}-{_listing_key(folder, files)}.npy"
        images = open_array(path)
        if images is None:
            _log.info("restricted-imagenet: preparing %d images of %s in %s", len(files), split, path)
            images = build_array(
                path, (len(files), 3, side, side), lambda done: decode_blocks(files[done:], pixel_format)
            )
        examples = Examples(inputs=torch.from_numpy(images), labels=torch.tensor(labels, dtype=torch.int64))
        return examples, notes


def _list_images(split: Path) -> tuple[list[ImageFile], list[int], tuple[str, ...]]:
    """Images and labels, ordered by group, class and name, and what is left out."""
    classes = class_names(split)
    if len(classes) != IMAGENET_CLASSES:
        raise DataError(
            f"restricted-imagenet: {split} has {len(classes)} class folders, expected {IMAGENET_CLASSES}",
            hint="groups are ranges of class numbers, so every class folder must be there (val sorted into them too)",
        )
    files: list[ImageFile] = []
    labels: list[int] = []
    found = {member: read_class(split / classes[member]) for members in GROUPS.values() for member in members}
    for label, (group, members) in enumerate(GROUPS.items()):
        paths = [path for member in members for path in found[member].images]
        if not paths:
            raise DataError(f"restricted-imagenet: {split} has no images of the group {group}")
        files += [ImageFile(name=str(path), content=path) for path in paths]
        labels += [label] * len(paths)
    empty = [classes[member] for member, folder in found.items() if not folder.images]
    lacking = lacking_note(str(split), empty, len(found), "ImageNet classes")
    return files, labels, (*left_out(split, found.values()), *lacking)


def _listing_key(split: Path, files: list[ImageFile]) -> str:
    """Digest of names and sizes: changed images get a new cache file, without reading 30 GB."""
    state = hashlib.sha256()
    for file in files:
        path = Path(file.name)
        state.update(f"{path.relative_to(split)} {path.stat().st_size}\n".encode())
    return state.hexdigest()[:16]
