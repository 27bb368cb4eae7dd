"""Arrays in the cache folder: written atomically, with a digest, read through a memory map."""

from __future__ import annotations

import fcntl
import hashlib
import io
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.contract import DataError

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


Blocks = Iterator[list["NDArray[np.uint8]"]]


def build_array(path: Path, shape: tuple[int, ...], blocks_from: Callable[[int], Blocks]) -> NDArray[np.generic]:
    """Write a uint8 array, whose rows come first in `shape`, to a ``.npy`` file, and map it.

    Rows are appended to a file beside `path`, whose length says how many are done; it is renamed when all are written. Only one
    block is held in memory. If several processes build the same array, one builds and the others wait. `blocks_from` yields the
    rows from a number on, in blocks. If the folder cannot be written or has no space left, this is a DataError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(path.with_suffix(".lock")):
            if open_array(path) is None:
                _write_rows(path, shape, blocks_from)
    except OSError as error:
        raise DataError(
            f"cannot write the cache file {path}: {error}", hint="free space or set BENCHBENCH_HOME"
        ) from error
    array = open_array(path)
    if array is None:
        raise DataError(f"the cache file {path} cannot be read back", hint="delete it and try again")
    return array


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold a lock on a file; the system releases it even if the process is killed."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write_rows(path: Path, shape: tuple[int, ...], blocks_from: Callable[[int], Blocks]) -> None:
    """Append to a plain file: on a full disk a write raises, but a memory map kills the process."""
    unfinished = path.with_suffix(".part")
    header, row_size = _header(shape), math.prod(shape[1:])
    done = _rows_written(unfinished, header, row_size)
    with unfinished.open("r+b" if done else "wb") as file:
        file.write(header)
        file.truncate(len(header) + done * row_size)
        file.seek(0, os.SEEK_END)
        for block in blocks_from(done):
            file.writelines(row.tobytes() for row in block)
            file.flush()
    note_digest(unfinished, path)
    unfinished.replace(path)


def _header(shape: tuple[int, ...]) -> bytes:
    """The beginning of a ``.npy`` file."""
    import numpy as np

    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _rows_written(unfinished: Path, header: bytes, row_size: int) -> int:
    """Number of whole rows of an interrupted build of the same shape; 0 if there was none."""
    if not unfinished.is_file():
        return 0
    with unfinished.open("rb") as file:
        same = file.read(len(header)) == header
    return (unfinished.stat().st_size - len(header)) // row_size if same else 0
