"""Write files atomically: neither a crash nor a full disk leaves half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchbench.errors import StorageError

_REMEDIES = {
    errno.ENOSPC: ("no space left on the disk", "free some space, or choose another folder"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or choose another folder"),
    errno.EACCES: ("permission denied", "choose a folder that you may write"),
    errno.EPERM: ("permission denied", "choose a folder that you may write"),
    errno.EROFS: ("the file system is read-only", "choose a folder that you may write"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "choose another folder"),
    errno.EISDIR: ("it is a folder, not a file", "choose another path"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
    errno.ENOENT: ("no such file or folder", "check the path"),
}


def write_atomically(path: Path, write: Callable[[Path], None], *, durable: bool = True) -> None:
    """Write a file beside its destination, flush it to the disk and rename it into place.

    Args:
        path: destination; its folder is created.
        write: writes the content to a temporary path.
        durable: whether to flush; if not, a power failure may lose the file, but an interruption does not.

    Raises:
        StorageError: the file cannot be written; the old one stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            if durable:
                _flush(temporary)
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        if durable:
            _flush(path.parent)


def write_bytes_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """`write_atomically` for content in memory."""
    write_atomically(path, lambda temporary: _write_bytes(temporary, content), durable=durable)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Convert operating-system errors to a `StorageError` that names the path and a remedy."""
    try:
        yield
    except OSError as error:
        reason, hint = _REMEDIES.get(error.errno or 0, (error.strerror or str(error), ""))
        raise StorageError(f"{path}: {reason}", hint=hint) from error


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _flush(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
