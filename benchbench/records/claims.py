"""Claims: files that say which process computes what, so that processes share the work.

A claim is a file ``<folder>/<name>.json`` that only one process can create (O_EXCL). It names its owner, and the owner keeps
its modification time fresh (a heartbeat). A claim is abandoned if its owner on this machine is dead, or if its last heartbeat
is older than `STALE_SECONDS` (`EMPTY_SECONDS` for an empty file), or if a waiting process has seen no heartbeat for as long: a
time stamp may lie in the future. A process that finds an abandoned claim creates a successor, named by the token of the old
claim so that there can be only one, reads the claim again, and renames the successor over it. Successors are abandoned in the
same ways, and then removed. Its first claim done, a process removes the abandoned ones of others.

Claims only save work. Results are written atomically and do not depend on who computes them, so the worst case (an owner that
was suspended and wakes up) computes something twice. No file is ever locked.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchbench.atomic import OLD_SECONDS, storage_errors, write_whole
from benchbench.errors import StorageError
from benchbench.processes import host, is_over, start_of

STALE_SECONDS = 120.0
BEATS = 8  # heartbeats within that time
EMPTY_SECONDS = 5.0  # after which an empty claim is abandoned: who created it died before writing to it


class Claims:
    """The claims in one folder, as one process takes them; all have the same `stale_seconds`."""

    def __init__(self, folder: Path, *, stale_seconds: float = STALE_SECONDS) -> None:
        self._folder = folder
        self._stale_seconds = stale_seconds
        self._tokens: dict[Path, str] = {}
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._ahead = 0.0
        self._measured = -math.inf  # when `_ahead` was
        self._seen: dict[Path, tuple[int, float]] = {}  # time stamps of others' claims, and since when they are known
        self._tidied = False

    @contextmanager
    def held(self, name: str) -> Iterator[bool]:
        """Hold the claim of a name (valid in file names); yield False if another process has it."""
        path = self._folder / f"{name}.json"
        if not self._take(path):
            yield False
            return
        try:
            yield True
        finally:
            self._release(path)

    def owner(self, name: str) -> str:
        """The process and machine that hold a claim now, for people; empty if there is no owner."""
        path = self._folder / f"{name}.json"
        owner = _read(path)
        if owner is None or _is_dead(owner) or abs(self._age(path)) > self._stale_seconds:
            return ""
        machine = str(owner.get("host", "")).partition(" ")[0] or "an unknown machine"
        return f"process {owner.get('pid', '?')} on {machine}"

    def _take(self, path: Path) -> bool:
        token = secrets.token_hex(8)
        with storage_errors(path):
            self._folder.mkdir(parents=True, exist_ok=True)
            taken = _create(path, token) or self._take_over(path, token)
        # a process that was suspended while it wrote its claim may have been succeeded
        if not taken or _token(path) != token:
            return False
        self._seen.pop(path, None)
        self._keep(path, token)
        if not self._tidied:
            self._tidied = True
            self._tidy()
        return True

    def _tidy(self) -> None:
        """Release claims that killed processes have left, by taking them over."""
        with suppress(OSError, StorageError):
            for path in self._folder.iterdir():
                owner = _read(path) if path.suffix == ".json" and path not in self._tokens else None
                if owner is not None and (_is_dead(owner) or self._age(path) > OLD_SECONDS):
                    with self.held(path.stem):
                        pass
                elif path.suffix == ".successor" and self._age(path) > OLD_SECONDS:
                    path.unlink(missing_ok=True)

    def _take_over(self, path: Path, token: str) -> bool:
        """Replace an abandoned claim; if several processes try, one succeeds."""
        before = _read(path)
        if before is None:
            return _create(path, token)
        if not self._is_abandoned(path, before):
            return False
        successor = path.with_name(f"{path.name}.{before['token']}.successor")
        if not _create(successor, token):
            creator = _read(successor)
            if creator is not None and self._is_abandoned(successor, creator):  # it died before renaming it
                successor.unlink(missing_ok=True)
            return False
        now = _read(path)
        if now is None or now["token"] != before["token"]:
            successor.unlink(missing_ok=True)
            return False
        try:
            successor.replace(path)
        except FileNotFoundError:  # another process took it for one of a dead creator
            return False
        return True

    def _is_abandoned(self, path: Path, owner: dict[str, object]) -> bool:
        """Whether the owner of a claim is dead, or did not renew it in time."""
        limit = min(EMPTY_SECONDS, self._stale_seconds) if owner.get("empty") else self._stale_seconds
        return _is_dead(owner) or self._is_stale(path, limit)

    def _is_stale(self, path: Path, limit: float) -> bool:
        """Whether a claim is older than that, or was not renewed while this process waited."""
        try:
            stamp, age = path.stat().st_mtime_ns, self._age(path)
        except FileNotFoundError:
            return False
        seen, since = self._seen.get(path, (None, 0.0))
        if seen != stamp:
            self._seen[path] = (stamp, time.monotonic())
            return age > limit
        return max(age, time.monotonic() - since) > limit

    def _age(self, path: Path) -> float:
        """Seconds since the last heartbeat by the clock of the file system; machines' clocks differ."""
        try:
            return time.time() + self._clock_ahead() - path.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _clock_ahead(self) -> float:
        """`folder_clock_ahead`, measured at most once a heartbeat."""
        if time.monotonic() > self._measured + self._stale_seconds / BEATS:
            with suppress(StorageError):  # on a full disk, or one that is only read, the clocks count as equal
                self._ahead = folder_clock_ahead(self._folder)
            self._measured = time.monotonic()
        return self._ahead

    def _keep(self, path: Path, token: str) -> None:
        with self._lock:
            first = not self._tokens
            self._tokens[path] = token
            if first:
                self._released = threading.Event()
                threading.Thread(target=self._beat, args=(self._released,), name="heartbeat", daemon=True).start()

    def _beat(self, released: threading.Event) -> None:
        while not released.wait(self._stale_seconds / BEATS):
            with self._lock:
                held = dict(self._tokens)
            for path, token in held.items():
                if _token(path) == token:
                    with suppress(OSError):  # the next heartbeat may succeed; if all fail, the work is done twice
                        os.utime(path)

    def _release(self, path: Path) -> None:
        with self._lock:
            token = self._tokens.pop(path)
            if not self._tokens:
                self._released.set()
        if _token(path) == token:
            with suppress(OSError):  # the claim then counts as abandoned later
                path.unlink(missing_ok=True)


def folder_clock_ahead(folder: Path, now: Callable[[], float] = time.time) -> float:
    """Seconds by which the clock of a folder's file system is ahead of this machine's `now`."""
    with storage_errors(folder), tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(b"\0")
        probe.flush()
        return os.fstat(probe.fileno()).st_mtime - now()


def _create(path: Path, token: str) -> bool:
    """Create a claim of this process; False if there is one already."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    owner = {"host": host(), "pid": os.getpid(), "started": start_of(os.getpid()), "token": token}
    try:
        write_whole(descriptor, json.dumps(owner).encode())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return True


def _read(path: Path) -> dict[str, object] | None:
    """The owner of a claim; a token if it is damaged or empty, None if there is no claim."""
    try:
        with path.open("rb") as file:
            content, status = file.read(), os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    with suppress(ValueError, RecursionError):
        owner = json.loads(content)
        if isinstance(owner, dict) and str(owner.get("token", "")).isalnum():
            return owner
    return {"token": f"unreadable{status.st_ino}x{status.st_mtime_ns}", "empty": not content}


def _token(path: Path) -> object:
    try:
        return (_read(path) or {}).get("token")
    except OSError:
        return None


def _is_dead(owner: dict[str, object]) -> bool:
    """Whether the owner ran here and has ended."""
    pid = owner.get("pid")
    return owner.get("host") == host() and isinstance(pid, int) and is_over(pid, owner.get("started"))
