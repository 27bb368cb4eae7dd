"""Read files that may be missing or damaged; remove leftovers of killed writers."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from benchbench.atomic import storage_errors

_STALE_SECONDS = 24 * 3600


def read_bytes(path: Path) -> bytes | None:
    """The content of a file; None if it does not exist."""
    with storage_errors(path):
        try:
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
    """Rename a damaged file to ``<name>.corrupt`` and return that path."""
    aside = path.with_name(f"{path.name}.corrupt")
    with storage_errors(path):
        path.replace(aside)
    return aside


def remove_stale_temporaries(folder: Path) -> None:
    """Remove day-old temporary files of killed writers (see `benchbench.atomic`)."""
    for temporary in folder.glob(".*.tmp"):
        with suppress(OSError):
            if time.time() - temporary.stat().st_mtime > _STALE_SECONDS:
                temporary.unlink()
