"""Read files that may be missing or damaged."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from benchbench.atomic import storage_errors
from benchbench.errors import StorageError

Item = TypeVar("Item")
Content = TypeVar("Content")
_READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe would wait for who writes to it


def read_bytes(path: Path) -> bytes | None:
    """The content of a file; None if it does not exist."""
    with storage_errors(path):
        try:
            descriptor = os.open(path, _READING)
        except FileNotFoundError:
            return None
        try:
            found, parts = os.fstat(descriptor), list[bytes]()
            if not stat.S_ISREG(found.st_mode):
                raise StorageError(f"{path} is no regular file", hint="a device or a pipe may have no end")
            while part := os.read(descriptor, found.st_size + 1):
                parts.append(part)
            return b"".join(parts)
        finally:
            os.close(descriptor)


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


def read_ahead(read: Callable[[Item], Content], items: Iterable[Item]) -> Iterator[tuple[Item, Content]]:
    """Each item and what is read for it; another thread reads the next one meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        begun = deque[tuple[Item, Future[Content]]]()
        for item in items:
            begun.append((item, pool.submit(read, item)))
            if len(begun) > 1:
                yield begun[0][0], begun.popleft()[1].result()
        for item, reading in begun:
            yield item, reading.result()
