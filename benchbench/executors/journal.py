"""Journals: the events of workers, as lines of JSON in the shared folder."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchbench.atomic import storage_errors, write_whole
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
    """A worker has begun; its clock is `clock_ahead` seconds ahead of the shared folder's."""

    host: str
    pid: int
    device: str
    clock_ahead: float


@dataclass(frozen=True, kw_only=True)
class WorkerTrouble:
    """A worker cannot continue because of a `benchbench.errors.BenchbenchError`."""

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
    """The journal of one worker, in a folder that is made on demand."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._path = folder / f"{worker}{_SUFFIX}"
        self._last = 0.0
        self._begin = "\n"  # an earlier worker of this name may have been killed in the middle of a line
        with storage_errors(self._path):
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, entry: JournalEntry) -> None:
        """Add an entry; progress within a cell at most once a second."""
        if type(entry).__name__ not in _KINDS:
            return
        if isinstance(entry, (TrainingProgress, EvaluationProgress)):
            if time.monotonic() - self._last < PROGRESS_SECONDS:
                return
            self._last = time.monotonic()
        line = self._begin + json.dumps({"kind": type(entry).__name__, **dataclasses.asdict(entry)}) + "\n"
        self._begin = ""
        with storage_errors(self._path), self._path.open("ab", buffering=0) as file:
            write_whole(file.fileno(), line.encode())


class Journals:
    """All journals of a folder, read as they grow; `from_the_end` skips earlier entries."""

    def __init__(self, folder: Path, *, from_the_end: bool = False) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        if from_the_end:
            self._read = {path: path.stat().st_size for path in self._paths()}

    def news(self) -> Iterator[tuple[str, JournalEntry]]:
        """Yield worker and entry of each line added since the last call; skip damaged lines."""
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
            return []  # a shared file system may show it again the next time
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
