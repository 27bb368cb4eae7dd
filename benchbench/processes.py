"""Which process wrote a file, and whether it still runs."""

from __future__ import annotations

import functools
import hashlib
import os
import socket
from contextlib import suppress
from pathlib import Path


def host() -> str:
    """This machine's name, boot and namespace of process numbers: containers may share a name."""
    boot = namespace = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()} {boot} {namespace}"


@functools.cache
def host_digest() -> str:
    """Eight hexadecimal digits for `host`, for names of files."""
    return hashlib.sha256(host().encode(errors="replace")).hexdigest()[:8]


def start_of(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # after the program's name, which may hold spaces and brackets
    return "" if len(fields) < 20 or fields[0] == "Z" else fields[19]


def is_over(pid: int, started: object) -> bool:
    """Whether a process of this machine has ended; its start time detects a reused number."""
    if pid <= 0 or os.name != "posix":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return started != start_of(pid)
