"""Write files atomically: neither a crash nor a full disk leaves half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from benchbench.errors import BenchbenchError, StorageError
from benchbench.processes import host_digest, is_over, start_of

_REMEDIES = {
    errno.ENOSPC: ("no space left on the disk", "free some space, or choose another folder"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or choose another folder"),
    errno.EACCES: ("permission denied", "choose a folder that you may write"),
    errno.EPERM: ("permission denied", "choose a folder that you may write"),
    errno.EROFS: ("the file system is read-only", "choose a folder that you may write"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "choose another folder"),
    errno.EEXIST: ("a part of the path is a file, not a folder", "choose another folder"),
    errno.EISDIR: ("it is a folder, not a file", "choose another path"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
    errno.ENOENT: ("no such file or folder", "check the path"),
}
_AT_ONCE = 4  # files
_FULL = (errno.ENOSPC, errno.EDQUOT)
_TEMPORARY = re.compile(
    r"\..*\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-(?P<started>\d*)(?:\.[0-9a-f]{8})?\.tmp"
    r"|\..*\.\d+(?:\.[0-9a-f]{8})?\.tmp",  # of an earlier version, without a host
    re.DOTALL,
)
OLD_SECONDS = 24 * 3600.0  # no writer takes that long
Item = TypeVar("Item")
Result = TypeVar("Result")
_tidied: set[Path] = set()  # folders in which this process has looked for leftovers


def write_atomically(path: Path, write: Callable[[Path], None], *, durable: bool = True) -> None:
    """Write a file beside its destination, flush it to the disk and rename it into place.

    Args:
        path: destination; its folder is created, and tidied by the first write of this process: see `remove_leftovers`.
        write: writes the content to a temporary path.
        durable: whether to flush; if not, a power failure may lose the file, but an interruption does not.

    Raises:
        StorageError: the file cannot be written; the old one stays.
    """
    refuse_folder(path)
    writer = f"{host_digest()}-{os.getpid()}-{start_of(os.getpid())}"
    temporary = path.with_name(f".{path.name[:40]}.{writer}.{secrets.token_hex(4)}.tmp")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent not in _tidied:
            _tidied.add(path.parent)
            remove_leftovers(path.parent)
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


def at_once(write: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call a function of each item, four at once: to write a file is to wait for the disk."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return list(pool.map(write, items))


def refuse_folder(path: Path) -> None:
    """Raise a StorageError if the path of a file to write is of a folder, empty or too long."""
    with storage_errors(path):
        if not path.name or path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "")


def write_bytes_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """`write_atomically` for content in memory."""
    write_atomically(path, lambda temporary: _write_bytes(temporary, content), durable=durable)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Convert operating-system errors to a `StorageError` that names the path and a remedy."""
    try:
        yield
    except BenchbenchError:
        raise
    except Exception as error:
        found = _system_error(error)
        if found is None:
            raise
        raise _storage_error(str(path), found) from error


def full_disk(error: BaseException | None) -> StorageError | None:
    """The error to raise instead of one that a full disk caused; None for any other."""
    while error is not None:
        found = _system_error(error)
        if found is not None and found.errno in _FULL:
            return _storage_error(str(found.filename or "a file"), found)
        error = error.__cause__ or error.__context__
    return None


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of killed writers: those of this machine now, others after a day."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".tmp") and (parts := _TEMPORARY.fullmatch(entry.name)):
                with contextlib.suppress(OSError):
                    if _is_abandoned(entry, **parts.groupdict()):
                        os.unlink(entry)


@contextmanager
def scratch_folder(kind: str, parent: Path | None = None) -> Iterator[Path]:
    """Make a temporary folder for a block; remove those of killed processes of this machine.

    Raises:
        StorageError: it cannot be made.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    prefix = f".benchbench-{kind}-{host_digest()}-"
    for leftover in place.glob(f"{prefix}*"):
        pid, started, _ = f"{leftover.name.removeprefix(prefix)}---".split("-", 2)
        if pid.isdigit() and is_over(int(pid), started):
            shutil.rmtree(leftover, ignore_errors=True)
    with storage_errors(place):
        folder = tempfile.TemporaryDirectory(dir=place, prefix=f"{prefix}{os.getpid()}-{start_of(os.getpid())}-")
    with folder as name:
        yield Path(name)


def write_whole(descriptor: int, content: bytes) -> None:
    """Write all bytes, also where the system takes them in parts; a disk that fills up raises."""
    while content:
        content = content[os.write(descriptor, content) :]


def _is_abandoned(entry: os.DirEntry[str], *, host: str | None, pid: str | None, started: str | None) -> bool:
    if pid and host == host_digest():
        return is_over(int(pid), started)
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > OLD_SECONDS


def _system_error(error: BaseException) -> OSError | None:
    """The operating system's error, which libraries in Rust (safetensors) only state in words."""
    if isinstance(error, OSError):
        return error
    stated = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(stated[1]), os.strerror(int(stated[1]))) if stated else None


def _storage_error(path: str, error: OSError) -> StorageError:
    reason, hint = _REMEDIES.get(error.errno or 0, (error.strerror or str(error), ""))
    return StorageError(f"{path}: {reason}", hint=hint)


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _flush(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
