"""Journals: what workers tell, as lines of JSON in the shared folder, so that any machine can follow them."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchbench.atomic import storage_errors
from benchbench.events import (
    CellFailed,
    CellFinished,
    CellStarted,
    EvaluationProgress,
    Event,
    Note,
    TrainingProgress,
    TrainingStarted,
)

PROGRESS_SECONDS = 1.0  # between two entries about progress within a cell
_SUFFIX = ".jsonl"


@dataclass(frozen=True, kw_only=True)
class Hello:
    """A worker has begun.

    Attributes:
        host: name of its machine.
        pid: its process number there.
        device: what it computes on, as rows name it.
        clock_ahead: seconds by which its clock is ahead of the shared folder's.
    """

    host: str
    pid: int
    device: str
    clock_ahead: float


@dataclass(frozen=True, kw_only=True)
class WorkerTrouble:
    """A worker cannot go on, for a reason that the user can mend; see `benchbench.errors.BenchbenchError`."""

    message: str
    hint: str


JournalEntry = Event | Hello | WorkerTrouble
_KINDS: dict[str, type[JournalEntry]] = {
    kind.__name__: kind
    for kind in (
        CellStarted,
        TrainingStarted,
        TrainingProgress,
        EvaluationProgress,
        CellFinished,
        CellFailed,
        Note,
        Hello,
        WorkerTrouble,
    )
}


class Journal:
    """What one worker writes.

    Args:
        folder: of the journals; made on demand.
        worker: its name.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self._path = folder / f"{worker}{_SUFFIX}"
        self._last = 0.0
        self._begin = "\n"  # an earlier worker of this name may have been killed in the middle of a line
        with storage_errors(self._path):
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, entry: JournalEntry) -> None:
        """Add an entry; of progress within a cell, only one now and then.

        Raises:
            StorageError: it cannot be written.
        """
        if type(entry).__name__ not in _KINDS:
            return
        if isinstance(entry, (TrainingProgress, EvaluationProgress)):
            if time.monotonic() - self._last < PROGRESS_SECONDS:
                return
            self._last = time.monotonic()
        line = self._begin + json.dumps({"kind": type(entry).__name__, **dataclasses.asdict(entry)}) + "\n"
        self._begin = ""
        with storage_errors(self._path):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)


class Journals:
    """All journals of a folder, read as they grow.

    Args:
        folder: of the journals.
        from_the_end: pass over what was written before.
    """

    def __init__(self, folder: Path, *, from_the_end: bool = False) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        if from_the_end:
            self._read = {path: path.stat().st_size for path in self._paths()}

    def news(self) -> Iterator[tuple[str, JournalEntry]]:
        """What was added since the last call: name of the worker, and entry; lines that make no sense are passed over."""
        for path in self._paths():
            for line in self._new_lines(path):
                entry = _decode(line)
                if entry is not None:
                    yield path.name.removesuffix(_SUFFIX), entry

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_SUFFIX}"))

    def _new_lines(self, path: Path) -> list[bytes]:
        begin = self._read.get(path, 0)
        try:
            with path.open("rb") as file:
                file.seek(begin)
                content = file.read()
        except OSError:
            return []  # on a shared file system it may be there again the next time
        whole, newline, _ = content.rpartition(b"\n")
        self._read[path] = begin + len(whole) + len(newline)
        return whole.splitlines()


def _decode(line: bytes) -> JournalEntry | None:
    try:
        fields = json.loads(line)
        entry: JournalEntry = _KINDS[fields.pop("kind")](**fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return entry
