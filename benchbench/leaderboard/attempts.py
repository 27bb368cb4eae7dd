"""Attempts to compute a finished cell again that failed: the row stays as it was, and this says what failed, and when.

They are in ``<folder>/<suite>/failed.json`` beside a leaderboard file, and there is no such file where none failed.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchbench.atomic import storage_errors, write_bytes_atomically
from benchbench.leaderboard.names import attack_label, defense_label, parse_options, printable
from benchbench.records import Row, RunStore
from benchbench.records.disk import read_bytes

FILE_NAME = "failed.json"
_LONGEST = 200  # characters of an error that are shown


@dataclass(frozen=True, kw_only=True)
class FailedAttempt:
    """A failed attempt to compute a finished cell again.

    Attributes:
        time: when it failed, in UTC.
        error: why.
    """

    time: str
    error: str


def write_failed_attempts(path: Path, store: RunStore, recorded: Iterable[Row]) -> None:
    """Bring the file beside a leaderboard up to date.

    Args:
        path: of the leaderboard.
        store: where the cells are recorded; what other machines wrote about cells that are not there stays.
        recorded: rows of the store.

    Raises:
        StorageError: it cannot be written.
    """
    file, rows = _beside(path), {row.cell_id: row for row in recorded}
    attempts = {cell_id: found for cell_id, found in _read(file).items() if cell_id not in rows}
    names = {*store.record_names()}
    for cell_id in sorted(rows):
        if rows[cell_id].status == "ok" and f"{cell_id}.failed.json" in names:
            attempts |= _attempt(cell_id, store)
    content = json.dumps({cell_id: dataclasses.asdict(one) for cell_id, one in sorted(attempts.items())}, indent=1)
    if attempts and read_bytes(file) != content.encode():
        write_bytes_atomically(file, content.encode())
    elif not attempts:
        with storage_errors(file):
            file.unlink(missing_ok=True)


def describe_failed_attempts(path: Path, rows: Iterable[Row]) -> tuple[str, ...]:
    """A line for each row of a leaderboard that stands because computing it again failed.

    Args:
        path: of the leaderboard.
        rows: of it, those that are shown.
    """
    attempts = _read(_beside(path))
    return tuple(
        f"{_label(row)}: an earlier result; computing it again failed on {printable(attempts[row.cell_id].time)}: "
        f"{printable(attempts[row.cell_id].error[:_LONGEST])}"
        for row in rows
        if row.cell_id in attempts and row.source == "measured" and row.status == "ok"
    )


def _attempt(cell_id: str, store: RunStore) -> Mapping[str, FailedAttempt]:
    finished, failed = store.record_times(cell_id)
    row = store.read_failure(cell_id)
    if row is None or failed is None or (finished is not None and failed < finished):
        return {}
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(failed / 1e9))
    return {cell_id: FailedAttempt(time=when, error=row.error)}


def _beside(path: Path) -> Path:
    return path.parent / path.stem / FILE_NAME


def _read(file: Path) -> dict[str, FailedAttempt]:
    """Attempts by cell id; none where the file is missing or no such file."""
    try:
        found = json.loads(read_bytes(file) or b"{}")
        return {str(c): FailedAttempt(time=str(one["time"]), error=str(one["error"])) for c, one in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _label(row: Row) -> str:
    attack = attack_label(row.attack, parse_options(row.attack_options))
    return f"{row.dataset} {row.architecture}, {defense_label(row)}, {attack}, seed {row.seed}"
