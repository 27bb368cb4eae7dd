"""Read files that may be missing or damaged."""

from __future__ import annotations

from pathlib import Path

from benchbench.atomic import storage_errors


def read_bytes(path: Path) -> bytes | None:
    """The content of a file; None if it does not exist."""
    with storage_errors(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def set_aside(path: Path) -> Path:
    """Rename a damaged file to ``<name>.corrupt`` and return that path."""
    aside = path.with_name(f"{path.name}.corrupt")
    with storage_errors(path):
        path.replace(aside)
    return aside
