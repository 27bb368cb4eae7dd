"""Arrays in the cache folder: written atomically, with a digest, read through a memory map."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)
_OLD_SECONDS = 24 * 3600


def cache_key(files: Iterable[Path], *details: object) -> str:
    """Hexadecimal SHA-256 of files' content, in order, and of details that determine an array."""
    state = hashlib.sha256(repr(details).encode())
    for path in files:
        with path.open("rb") as file:
            state.update(hashlib.file_digest(file, "sha256").digest())
    return state.hexdigest()


def open_array(path: Path) -> NDArray[np.generic] | None:
    """Map a cached array; None if none has a digest; a damaged one is renamed to ``*.corrupt``.

    The map is copy-on-write: writing to the array changes neither the file nor other maps of it.
    """
    import numpy as np

    try:
        expected = _digest_file(path).read_text(encoding="ascii", errors="replace").strip()
        if file_digest(path) != expected:
            raise ValueError("its content does not match its digest")
        array: NDArray[np.generic] = np.load(path, mmap_mode="c", allow_pickle=False)
    except OSError:
        return None
    except (ValueError, EOFError) as error:
        aside = path.with_name(f"{path.name}.corrupt")
        with suppress(OSError):  # if the cache cannot be written, the array is made again in memory
            path.replace(aside)
        _log.warning("%s is damaged (%s); set aside as %s, to be made again", path, error, aside.name)
        return None
    return array


def file_digest(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def note_digest(unfinished: Path, path: Path) -> None:
    """Write an array's digest before its file is renamed: without a digest it does not count."""
    with beside(_digest_file(path)) as note:
        note.write_text(file_digest(unfinished), encoding="ascii")


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yield a temporary path, which replaces `path` after the block.

    Those that killed processes left are removed after a day.
    """
    for leftover in path.parent.glob("*.[0-9]*.part"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _OLD_SECONDS:
                leftover.unlink()
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def cached_array(path: Path, make: Callable[[], NDArray[np.generic]]) -> NDArray[np.generic]:
    """The array from the cache, or made and cached now; a failure to write the cache is logged."""
    array = open_array(path)
    if array is not None:
        return array
    made = make()
    try:
        save_array(path, made)
    except OSError as error:
        _log.warning("cannot cache %s: %s", path, error)
    return made


def cached_text(path: Path, made: str) -> str:
    """The text beside an array: `made` is written; if it is empty, the stored text is read."""
    try:
        if made:
            with beside(path) as unfinished:
                unfinished.write_text(made, encoding="utf-8")
        return made or path.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return made


def save_array(path: Path, array: NDArray[np.generic]) -> None:
    """Write an array under a temporary name and rename it, so that no process reads half of it."""
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as unfinished:
        with unfinished.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        note_digest(unfinished, path)
