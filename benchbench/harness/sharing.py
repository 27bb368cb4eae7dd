"""Work on one model that processes share: the orders that the leading rank gives, and evaluations that others may join.

An evaluation is open while a notice of it lies in the runs folder. Whoever finds one (a follower by order, another process
because nothing else is left to do) runs the same evaluation: its shards are divided by claims, so that each is computed once,
and what the helper then knows is thrown away, for only the owner of the cell records it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchbench.atomic import write_bytes_atomically
from benchbench.cell.model import Cell
from benchbench.records.claims import Claims
from benchbench.stopping import StopRequest

POLL_SECONDS = 0.2


class EvaluationOverError(Exception):
    """The evaluation that a process helped with is over."""


@dataclass(frozen=True, kw_only=True)
class TrainOrder:
    """All ranks train the model of a cell."""

    cell: Cell


@dataclass(frozen=True, kw_only=True)
class EvaluateOrder:
    """The followers help to evaluate a cell."""

    cell: Cell


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Says that a cell is being evaluated, and by whom it can be helped.

    Attributes:
        path: its file.
        setting: what a helper must have in common with the owner, for outcomes to be the same bit for bit.
    """

    path: Path
    setting: str

    @contextmanager
    def posted(self) -> Iterator[None]:
        """Show the notice for a while.

        Raises:
            StorageError: it cannot be written.
        """
        write_bytes_atomically(self.path, json.dumps({"setting": self.setting}).encode())
        try:
            yield
        finally:
            with suppress(OSError):  # helpers look at the claim of the cell, too
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
    """Implements `benchbench.evaluation.memory.Sharing` by claims.

    Attributes:
        claims: of the runs folder.
        scope: names the evaluation.
        stop: is asked while waiting.
        notice: of the evaluation; None for its owner, who needs none.
    """

    claims: Claims
    scope: str
    stop: StopRequest
    notice: Notice | None = None

    def claim(self, key: str) -> AbstractContextManager[bool]:
        """Hold a shard for a while.

        Raises:
            EvaluationOverError: there is nothing to help with any more.
        """
        self._check()
        return self.claims.held(f"{self.scope}-{key.replace('/', '-')}")

    def wait(self) -> None:
        """Let others finish a shard.

        Raises:
            EvaluationOverError: there is nothing to help with any more.
            Stopped: it is time to stop.
        """
        self._check()
        self.stop.wait(POLL_SECONDS)

    def _check(self) -> None:
        if self.notice is not None and not self.notice.is_posted():
            raise EvaluationOverError
