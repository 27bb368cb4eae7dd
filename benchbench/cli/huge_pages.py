"""Huge pages for large tensors on a CPU: faster, with the same bits (docs/performance.md).

Attacks and training allocate and free the same megabytes at every step. In small pages the system clears and maps thousands
of them each time.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

VARIABLE = "THP_MEM_ALLOC_ENABLE"  # torch reads it once, at its first allocation; workers inherit it
POLICY = Path("/sys/kernel/mm/transparent_hugepage/enabled")  # Linux's file that says which processes get huge pages


def ask_for_huge_pages(environment: MutableMapping[str, str] = os.environ, policy: Path = POLICY) -> None:
    """Make torch request huge pages unless the user has set the variable or there are none."""
    try:
        allowed = policy.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return
    if "[madvise]" in allowed or "[always]" in allowed:
        environment.setdefault(VARIABLE, "1")
