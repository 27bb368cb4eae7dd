"""Read files that may be missing or damaged."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from benchbench.atomic import storage_errors
from benchbench.errors import StorageError


def read_bytes(path: Path) -> bytes | None:
    """The content of a file; None if it does not exist."""
    with storage_errors(path):
        try:
            if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
                raise StorageError(f"{path} is no regular file", hint="a device or a pipe may have no end")
            return path.read_bytes()
        except FileNotFoundError:
            return None


def file_names(folder: Path) -> frozenset[str]:
    """The names in a folder; none if it does not exist."""
    with storage_errors(folder):
        try:
            return frozenset(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()


def set_aside(path: Path) -> Path:
    """Rename a damaged file to ``<name>.corrupt``, unless another process has; return that path."""
    aside = path.with_name(f"{path.name}.corrupt")
    with storage_errors(path), suppress(FileNotFoundError):
        path.replace(aside)
    return aside
