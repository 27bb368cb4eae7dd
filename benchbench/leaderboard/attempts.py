"""Failed attempts to compute a finished cell again, which leave its row as it was.

``<folder>/<suite>/failed.json`` beside a leaderboard file says what failed, and when; without failures it is absent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchbench.atomic import storage_errors, write_bytes_atomically
from benchbench.cell.filters import parse_options
from benchbench.escaping import printable
from benchbench.leaderboard.names import attack_label, defense_label
from benchbench.records import Row, Rows, RunStore
from benchbench.records.disk import read_bytes

FILE_NAME = "failed.json"
_LONGEST = 200  # characters of an error that are shown


def write_failed_attempts(path: Path, store: RunStore, recorded: Iterable[Row]) -> None:
    """Bring the file beside a leaderboard up to date with the cells recorded in a store."""
    file, rows = _beside(path), {row.cell_id: row for row in recorded}
    attempts = {cell_id: found for cell_id, found in _read(file).items() if cell_id not in rows}
    names = {*store.record_names()}
    for cell_id, row in rows.items():
        if row.status == "ok" and f"{cell_id}.failed.json" in names and (attempt := _attempt(cell_id, store)):
            attempts[cell_id] = attempt
    content = json.dumps(dict(sorted(attempts.items())), indent=1).encode()
    if attempts and read_bytes(file) != content:
        write_bytes_atomically(file, content)
    elif not attempts:
        with storage_errors(file):
            file.unlink(missing_ok=True)


def describe_failed_attempts(path: Path, rows: Iterable[Row]) -> tuple[str, ...]:
    """A line for each row of a leaderboard that stands because computing it again failed."""
    attempts = _read(_beside(path))
    if not attempts:
        return ()
    listed = Rows.of(rows)
    standing = listed.having("cell_id", *attempts) & listed.having("source", "measured") & listed.having("status", "ok")
    return tuple(
        f"{_label(row)}: an earlier result; computing it again failed on {printable(attempts[row.cell_id]['time'])}: "
        f"{printable(attempts[row.cell_id]['error'][:_LONGEST])}"
        for row in listed.where(standing)
    )


def _attempt(cell_id: str, store: RunStore) -> Mapping[str, str]:
    """Time (UTC) and error of a failure newer than the finished record; empty without one."""
    finished, failed = store.record_times(cell_id)
    row = store.read_failure(cell_id)
    if row is None or failed is None or (finished is not None and failed < finished):
        return {}
    return {"time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(failed / 1e9)), "error": row.error}


def _beside(path: Path) -> Path:
    return path.parent / path.stem / FILE_NAME


def _read(file: Path) -> dict[str, Mapping[str, str]]:
    """Attempts by cell id; none if the file is missing or damaged."""
    try:
        found = json.loads(read_bytes(file) or b"{}")
        return {str(cell_id): {name: str(one[name]) for name in ("time", "error")} for cell_id, one in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _label(row: Row) -> str:
    attack = attack_label(row.attack, parse_options(row.attack_options))
    return f"{row.dataset} {row.architecture}, {defense_label(row)}, {attack}, seed {row.seed}"
