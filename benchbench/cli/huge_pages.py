"""Huge pages for large tensors on a CPU: torch asks Linux for them where an environment variable says so.

Attacks and trainings allocate and free the same megabytes at every step; in small pages the system clears and maps thousands
of them each time. docs/performance.md has what it gains. Results are the same bits.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

VARIABLE = "THP_MEM_ALLOC_ENABLE"  # torch reads it once, when it first allocates; workers inherit it
POLICY = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def ask_for_huge_pages(environment: MutableMapping[str, str] = os.environ, policy: Path = POLICY) -> None:
    """Ask torch to ask for them, unless the user has said something, or the system gives none.

    Args:
        environment: that torch reads.
        policy: Linux's file that says when processes get any.
    """
    try:
        given = policy.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return
    if "[madvise]" in given or "[always]" in given:
        environment.setdefault(VARIABLE, "1")
