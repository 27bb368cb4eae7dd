"""Folders that a suite names: below the data root, or anywhere by an absolute path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchbench.contract import DataSource, MissingDataError, OptionError


def resolve_folder(dataset: str, path: str, source: DataSource) -> Path:
    """The folder that an option `path` names.

    Args:
        dataset: name of the dataset, for messages.
        path: absolute, or relative to the data root, which it may not leave.
        source: where datasets may read.

    Raises:
        OptionError: a relative path that leaves the data root.
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
    """Names as messages list them: the first ones, and how many there are besides.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(number: int, noun: str) -> str:
    """A number of things in words.

    >>> counted(1, "file"), counted(2000, "file")
    ('1 file', '2,000 files')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
