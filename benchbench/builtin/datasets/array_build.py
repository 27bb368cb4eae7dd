"""Build a large array on disk, block by block, so that an interrupted build goes on where it stopped."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchbench.builtin.datasets.array_cache import open_array
from benchbench.contract import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Blocks = Iterator[list["NDArray[np.uint8]"]]


def build_array(path: Path, shape: tuple[int, ...], blocks_from: Callable[[int], Blocks]) -> NDArray[Any]:
    """Write a uint8 array to a file and map it.

    Rows go to a file beside `path`, which takes its name when all are written; the number of rows written is kept
    beside it. Only one block is held in memory. Of several processes that build the same array, one does and the
    others wait.

    Args:
        path: the file, ending in ``.npy``.
        shape: shape of the array; rows come first.
        blocks_from: gives the rows from a number on, in order, some at a time.

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
    """Hold a lock file; the system releases it even when the process is killed."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write_rows(path: Path, shape: tuple[int, ...], blocks_from: Callable[[int], Blocks]) -> None:
    import numpy as np

    unfinished, progress = path.with_suffix(".part"), path.with_suffix(".rows")
    done = _rows_written(unfinished, progress)
    if done == 0:
        np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=shape).flush()
    for block in blocks_from(done):
        # Mapped anew for each block: pages of a map that is closed count no longer towards this process's memory.
        rows = np.lib.format.open_memmap(unfinished, mode="r+")
        rows[done : done + len(block)] = np.stack(block)
        rows.flush()
        del rows
        done += len(block)
        _write_progress(progress, done)
    unfinished.replace(path)
    progress.unlink(missing_ok=True)


def _rows_written(unfinished: Path, progress: Path) -> int:
    try:
        return int(progress.read_text()) if unfinished.is_file() else 0
    except (FileNotFoundError, ValueError):
        return 0


def _write_progress(progress: Path, done: int) -> None:
    temporary = progress.with_suffix(".rows.new")
    temporary.write_text(str(done))
    temporary.replace(progress)
