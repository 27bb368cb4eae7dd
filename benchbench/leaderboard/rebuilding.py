"""Rebuilding a leaderboard file from the cell records; idempotent.

``<folder>/<suite>/failed.json`` beside it lists failed attempts to compute a finished cell again, which leave its row;
without failures it is absent.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from benchbench.atomic import at_once, storage_errors, write_bytes_atomically
from benchbench.errors import CorruptDataError
from benchbench.escaping import printable
from benchbench.leaderboard.files import held, read_rows, write_leaderboard
from benchbench.leaderboard.names import row_label
from benchbench.leaderboard.published import published_rows
from benchbench.records import Row, Rows, RunStore
from benchbench.records.disk import read_bytes

_log = logging.getLogger(__name__)


def rebuild(path: Path, store: RunStore, suite: str, *, on_problem: Callable[[str], None] = _log.warning) -> Rows:
    """Bring a suite's leaderboard file up to date with the records; return its rows, sorted.

    Measured rows of the store replace rows of the same cell, but a failed record never replaces a finished row, nor older
    diagnostics newer ones. Rows that other machines measured are kept. Cells refused for a broken contract have no row.
    Published rows are those that this version of benchbench ships. Per-example outcomes are copied to
    ``<folder>/<suite>/outcomes/<digest>.parquet``; failed attempts to compute a finished cell again are listed in
    ``<folder>/<suite>/failed.json``. Processes that rebuild one file at the same time lose no row: after writing, each checks
    whether records were added or changed since it read them, and then starts over. A damaged file, or one with impossible rows,
    is kept as ``<name>.corrupt``, and `on_problem` receives a message; a foreign or newer one is left alone: a StorageError.
    """
    while True:
        with held(path):
            unused = store.unused_weights()
            present = _present(path, on_problem)
            recorded = store.rows(suite)
            _copy_outcomes(recorded, store, outcomes_folder(path, suite))
            write_failed_attempts(path, store, recorded)
            rows = write_leaderboard(path, _merged(present, recorded, suite))
        if store.record_stamps() == store.known_stamps:
            for weights in unused:  # the file just written has no row measured on them either
                with suppress(OSError):  # the next rebuild tries again
                    weights.unlink(missing_ok=True)
            return rows


def outcomes_folder(path: Path, suite: str) -> Path:
    """The folder of the per-example outcomes beside a leaderboard file."""
    return path.parent / suite / "outcomes"


def _present(path: Path, on_problem: Callable[[str], None]) -> Rows:
    """The rows of the file before the rebuild; a copy of a damaged file is kept."""
    content = read_bytes(path)
    problems: list[str] = []
    rows = Rows.of([])
    if content is None:
        return rows
    try:
        rows = read_rows(path, on_problem=problems.append)
    except CorruptDataError as error:
        problems.append(error.message)
    if problems:
        aside = path.with_name(f"{path.name}.corrupt")
        write_bytes_atomically(aside, content)
        on_problem("; ".join(problems) + f"; kept as {aside.name}, and rebuilt from the cell records")
    return rows


def _merged(present: Rows, recorded: Rows, suite: str) -> Rows:
    rows = Rows.joined([present.where(present.having("source", "measured")), recorded])
    status, diagnostics = rows.values("status"), rows.values("diagnostics")
    merged: dict[str, int] = {}
    for place, cell_id in enumerate(rows.values("cell_id")):
        known = merged.setdefault(cell_id, place)
        if status[known] != "ok" or (status[place] == "ok" and diagnostics[place] >= diagnostics[known]):
            merged[cell_id] = place
    kept = [place for place in merged.values() if status[place] != "refused"]
    return Rows.joined([rows.take(kept), Rows.of(published_rows(suite))])


def _copy_outcomes(rows: Rows, store: RunStore, folder: Path) -> None:
    def copy(digest: str) -> None:
        copied = folder / f"{digest}.parquet"
        content = read_bytes(store.outcomes_path(digest))
        if content is not None and read_bytes(copied) != content and store.read_outcomes(digest) is not None:
            # the stored file is intact, so the copy is damaged; the next rebuild would copy it again, too
            write_bytes_atomically(copied, content, durable=False)

    at_once(copy, sorted({*rows.values("outcomes_digest")} - {""}))


FILE_NAME = "failed.json"
_LONGEST = 200  # characters of an error that are shown


def write_failed_attempts(path: Path, store: RunStore, recorded: Rows) -> None:
    """Bring the file beside a leaderboard up to date with the cells recorded in a store."""
    file, rows = _beside(path), dict(zip(recorded.values("cell_id"), recorded.values("status")))
    attempts = {cell_id: found for cell_id, found in _read(file).items() if cell_id not in rows}
    names = {name for name, _ in store.known_stamps}
    for cell_id, status in rows.items():
        if status == "ok" and f"{cell_id}.failed.json" in names and (attempt := _attempt(cell_id, store)):
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
        f"{row_label(row)}: an earlier result; computing it again failed on {printable(attempts[row.cell_id]['time'])}: "
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
