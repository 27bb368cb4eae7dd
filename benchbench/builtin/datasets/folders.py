"""Folders that a suite names, in the data root or absolute; and notes about their content."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchbench.contract import DataError, DataSource, MissingDataError, OptionError


def resolve_folder(dataset: str, path: str, source: DataSource) -> Path:
    """The folder that an option `path` names: absolute, or inside the data root.

    Raise an OptionError if a relative path leaves the data root, a MissingDataError if there is no such folder.
    """
    folder = source.root / path
    if not Path(path).is_absolute() and not folder.resolve().is_relative_to(source.root.resolve()):
        raise OptionError(
            f"{dataset}: path {path!r} leaves the data root {source.root}", hint="give an absolute path instead"
        )
    if not folder.is_dir():
        raise MissingDataError(
            f"{dataset}: no folder {folder}",
            fetch=f"put the data there, or name another data root with --data or BENCHBENCH_DATA (now {source.root})",
        )
    return folder


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names, and the number of the others.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "file"), counted(2000, "file")
    ('1 file', '2,000 files')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def lacking_note(place: str, lacking: Sequence[str], total: int, kind: str = "classes") -> tuple[str, ...]:
    """A note on the classes without images; none if every class has some."""
    return (f"{place} has no images of {len(lacking)} of {total} {kind}: {listed(lacking)}",) if lacking else ()


SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"})
_READ = ", ".join(sorted(SUFFIXES))


@dataclass(frozen=True, kw_only=True)
class ClassFolder:
    """Content of a class folder by name, without hidden files: images, others, files below it."""

    images: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    deeper: tuple[Path, ...] = ()


def find_split(folder: Path, names: Sequence[str]) -> Path:
    """The first named folder with class folders, else the first one, else MissingDataError."""
    there = [folder / name for name in names if (folder / name).is_dir()]
    if not there:
        wanted = " or ".join(repr(name) for name in names)
        raise MissingDataError(
            f"{folder} has no folder {wanted}", fetch=f"arrange the images as {folder / names[0]}/<class>/<image>"
        )
    return next((split for split in there if class_names(split)), there[0])


def class_names(split: Path) -> tuple[str, ...]:
    """Names of the class folders, sorted; hidden ones do not count."""
    return tuple(sorted(entry.name for entry in split.iterdir() if entry.is_dir() and not _is_hidden(entry)))


def read_class(folder: Path) -> ClassFolder:
    """List a class folder."""
    images, others, deeper = [], [], []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith("._"):  # macOS's metadata
            images.append(path)
        elif not _is_hidden(path):
            below = (Path(place, name) for place, _, names in os.walk(path) for name in names if name[0] != ".")
            deeper += sorted(below)  # none below a file
            others += [] if path.is_dir() else [path]
    return ClassFolder(images=tuple(images), others=tuple(others), deeper=tuple(deeper))


def require_images(split: Path, classes: Mapping[str, ClassFolder]) -> None:
    """Raise a DataError for empty class folders, or none; the hint says what they hold."""
    empty = [name for name, found in classes.items() if not found.images]
    if empty or not classes:
        where = f"for {len(empty)} of its classes: {listed(empty)}" if empty else "in class folders"
        instead = "; ".join(left_out(split, [classes[name] for name in empty]))
        raise DataError(
            f"{split} has no images ({_READ}) {where}", hint=instead or "put images there, or remove the empty folders"
        )


def left_out(split: Path, classes: Iterable[ClassFolder]) -> tuple[str, ...]:
    """Notes on the files of class folders that are not read: number, some names, a remedy."""
    found = tuple(classes)
    others = [path for one in found for path in one.others]
    deeper = [path for one in found for path in one.deeper]
    return (
        *_mention(split, others, f"of other kinds than {_READ}", "convert images to PNG"),
        *_mention(split, deeper, "in folders inside class folders", "move them up into their class folder"),
    )


def beside_classes(split: Path) -> tuple[str, ...]:
    """A note on the files beside the class folders, if there are any."""
    loose = sorted(entry for entry in split.iterdir() if not entry.is_dir() and not _is_hidden(entry))
    return _mention(split, loose, "beside the class folders", "move images into the folder of their class")


def _mention(split: Path, paths: Sequence[Path], where: str, remedy: str) -> tuple[str, ...]:
    names = [str(path.relative_to(split)) for path in paths]
    return (f"{split}: left out {counted(len(names), 'file')} {where}: {listed(names)}; {remedy}",) if names else ()


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")
