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
            with open(path, "rb", buffering=0, opener=_open_at_once) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise StorageError(f"{path} is no regular file", hint="a device or a pipe may have no end")
                return file.readall()
        except FileNotFoundError:
            return None


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait for who writes to it


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
