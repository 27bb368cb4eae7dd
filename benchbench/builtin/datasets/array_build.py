"""Build a large array on disk in blocks; an interrupted build continues where it stopped."""

from __future__ import annotations

import fcntl
import io
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.builtin.datasets.array_cache import note_digest, open_array
from benchbench.contract import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Blocks = Iterator[list["NDArray[np.uint8]"]]


def build_array(path: Path, shape: tuple[int, ...], blocks_from: Callable[[int], Blocks]) -> NDArray[np.generic]:
    """Write a uint8 array to a file and map it.

    Rows are appended to a file beside `path`, whose length says how many are done; it is renamed when all are written. Only one
    block is held in memory. If several processes build the same array, one builds and the others wait.

    Args:
        path: the file, ending in ``.npy``.
        shape: shape of the array; rows come first.
        blocks_from: yields the rows from a number on, in order, in blocks.

    Raises:
        DataError: the folder cannot be written or has no space left.
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
