"""Arrays kept in the cache folder: written whole or not at all, read through a memory map."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)


def cache_key(files: Iterable[Path], *details: object) -> str:
    """Hexadecimal SHA-256 of the content of some files, in order, and of what else determines an array."""
    state = hashlib.sha256(repr(details).encode())
    for path in files:
        with path.open("rb") as file:
            state.update(hashlib.file_digest(file, "sha256").digest())
    return state.hexdigest()


def open_array(path: Path) -> NDArray[Any] | None:
    """Map a cached array; None when there is none that can be read whole.

    The map is copy-on-write: writing to the array changes neither the file nor anybody else's array.
    """
    import numpy as np

    try:
        array: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array


def cached_array(path: Path, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """The cached array, or a made one, which is then cached; a cache that cannot be written is only logged."""
    array = open_array(path)
    if array is not None:
        return array
    made = make()
    try:
        save_array(path, made)
    except OSError as error:
        _log.warning("cannot cache %s: %s", path, error)
    return made


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array under a temporary name and rename it, so that nobody ever reads half of it."""
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
