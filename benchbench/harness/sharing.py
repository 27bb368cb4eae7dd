"""Evaluations that other processes may join.

An evaluation is open while its notice lies in the runs folder. Any process that finds the notice (a follower by order, another
process because it has nothing else to do) may run the same evaluation. Claims divide the shards, so that each is computed once.
Only the owner of the cell records it; the helper discards its own result.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchbench.atomic import write_bytes_atomically
from benchbench.records.claims import Claims
from benchbench.stopping import StopRequest

POLL_SECONDS = 0.2


class EvaluationOverError(Exception):
    """The evaluation that a process helped with is over."""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Announces that a cell is being evaluated."""

    path: Path  # its file
    setting: str  # device and batch size; a helper must have the same, so that outcomes are bit-identical

    @contextmanager
    def posted(self) -> Iterator[None]:
        """Show the notice within a block."""
        write_bytes_atomically(self.path, json.dumps({"setting": self.setting}).encode())
        try:
            yield
        finally:
            with suppress(OSError):  # helpers also check the claim of the cell
                self.path.unlink(missing_ok=True)

    def is_posted(self) -> bool:
        """Whether an evaluation is open that this process can help with."""
        try:
            found = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return False
        return isinstance(found, dict) and found.get("setting") == self.setting


@dataclass(frozen=True, kw_only=True)
class ClaimedShards:
    """Implements `benchbench.evaluation.memory.Sharing` by claims."""

    claims: Claims
    scope: str  # names the evaluation
    stop: StopRequest
    notice: Notice | None = None  # of the evaluation that this process helps with; None for the owner

    def claim(self, key: str) -> AbstractContextManager[bool]:
        """Hold a shard within a block; EvaluationOverError if the evaluation is over."""
        self._check()
        return self.claims.held(f"{self.scope}-{key.replace('/', '-')}")

    def wait(self) -> None:
        """Wait a moment for others to finish a shard; Stopped or EvaluationOverError ends it."""
        self._check()
        self.stop.wait(POLL_SECONDS)

    def _check(self) -> None:
        if self.notice is not None and not self.notice.is_posted():
            raise EvaluationOverError
