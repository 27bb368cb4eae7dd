"""Claims: files that say which process computes what, so that processes share the work.

A claim is a file ``<folder>/<name>.json`` that only one process can create (O_EXCL). It names its owner, and the owner keeps
its modification time fresh (a heartbeat). A claim is abandoned if its owner on this machine is dead, or if its last heartbeat
is older than `STALE_SECONDS`. A process that finds an abandoned claim creates a successor, named by the token of the old claim
so that there can be only one, reads the claim again, and renames the successor over it.

Claims only save work. Results are written atomically and do not depend on who computes them, so the worst case (an owner that
was suspended and wakes up) computes something twice. No file is ever locked.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchbench.atomic import storage_errors

STALE_SECONDS = 120.0
BEATS = 8  # heartbeats within that time


class Claims:
    """The claims in one folder, as one process sees and takes them.

    All processes see the folder and use the same `stale_seconds`; a claim with an older heartbeat is abandoned.
    """

    def __init__(self, folder: Path, *, stale_seconds: float = STALE_SECONDS) -> None:
        self._folder = folder
        self._stale_seconds = stale_seconds
        self._tokens: dict[Path, str] = {}
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._ahead = 0.0
        self._measured = -math.inf  # when `_ahead` was

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
        if owner is None or _is_dead(owner) or self._is_stale(path):
            return ""
        machine = str(owner.get("host", "")).partition(" ")[0] or "an unknown machine"
        return f"process {owner.get('pid', '?')} on {machine}"

    def _take(self, path: Path) -> bool:
        token = secrets.token_hex(8)
        with storage_errors(path):
            self._folder.mkdir(parents=True, exist_ok=True)
            taken = _create(path, token) or self._take_over(path, token)
        if taken:
            self._keep(path, token)
        return taken

    def _take_over(self, path: Path, token: str) -> bool:
        """Replace an abandoned claim; if several processes try, one succeeds."""
        before = _read(path)
        if before is None:
            return _create(path, token)
        if not (_is_dead(before) or self._is_stale(path)):
            return False
        successor = path.with_name(f"{path.name}.{before.get('token', 'unreadable')}.successor")
        if not _create(successor, token):
            if self._is_stale(successor):  # its creator died before renaming it
                successor.unlink(missing_ok=True)
            return False
        now = _read(path)
        if now is None or now.get("token") != before.get("token"):
            successor.unlink(missing_ok=True)
            return False
        successor.replace(path)
        return True

    def _is_stale(self, path: Path) -> bool:
        """Compare with the clock of the file system, because the clocks of machines differ."""
        try:
            return time.time() + self._clock_ahead() - path.stat().st_mtime > self._stale_seconds
        except FileNotFoundError:
            return False

    def _clock_ahead(self) -> float:
        """`folder_clock_ahead`, measured at most once a heartbeat."""
        if time.monotonic() > self._measured + self._stale_seconds / BEATS:
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
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(b"\0")
        probe.flush()
        return os.fstat(probe.fileno()).st_mtime - now()


def _create(path: Path, token: str) -> bool:
    """Create a claim of this process; False if there is one already."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    owner = {"host": _host(), "pid": os.getpid(), "started": _start_of(os.getpid()), "token": token}
    try:
        os.write(descriptor, json.dumps(owner).encode())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return True


def _read(path: Path) -> dict[str, object] | None:
    """The owner of a claim; empty if the file is damaged, None if there is no claim."""
    try:
        owner = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) and str(owner.get("token", "")).isalnum() else {}


def _token(path: Path) -> object:
    try:
        return (_read(path) or {}).get("token")
    except OSError:
        return None


def _is_dead(owner: dict[str, object]) -> bool:
    """Whether the owner ran here and has ended; its start time detects a reused number."""
    pid = owner.get("pid")
    if owner.get("host") != _host() or not isinstance(pid, int) or pid <= 0 or os.name != "posix":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return owner.get("started") != _start_of(pid)


def _host() -> str:
    """This machine's name, boot and namespace of process numbers: containers may share a name."""
    boot = namespace = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()} {boot} {namespace}"


def _start_of(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # after the program's name, which may hold spaces and brackets
    return "" if len(fields) < 20 or fields[0] == "Z" else fields[19]
