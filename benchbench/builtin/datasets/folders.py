"""Folders that a suite names, in the data root or absolute; and notes about their content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchbench.contract import DataSource, MissingDataError, OptionError


def resolve_folder(dataset: str, path: str, source: DataSource) -> Path:
    """The folder that an option `path` names: absolute, or inside the data root.

    Raises:
        OptionError: a relative path leaves the data root.
        MissingDataError: there is no such folder.
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
