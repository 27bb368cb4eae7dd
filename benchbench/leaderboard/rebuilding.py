"""Rebuilding a leaderboard file from the cell records, at any time, as often as one likes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from benchbench.atomic import write_bytes_atomically
from benchbench.errors import CorruptDataError
from benchbench.leaderboard.attempts import write_failed_attempts
from benchbench.leaderboard.files import read_rows, write_leaderboard
from benchbench.leaderboard.published import published_rows
from benchbench.records import Row, RunStore
from benchbench.records.disk import read_bytes

_log = logging.getLogger(__name__)


def rebuild(path: Path, store: RunStore, suite: str, *, on_problem: Callable[[str], None] = _log.warning) -> list[Row]:
    """Bring a suite's leaderboard file up to date with the cell records.

    Measured rows of the store replace rows of the same cell; rows that other machines measured are kept, except that a failed
    record never replaces a finished row, nor one with older diagnostics a newer one. Cells refused for a broken contract have
    no row; published rows are those that this version of benchbench ships. Per-example outcomes go to
    ``<folder>/<suite>/outcomes/<digest>.parquet``; attempts to compute a finished cell again that failed, to
    ``<folder>/<suite>/failed.json``. Processes that rebuild the same file at once lose no row: each looks again, after writing,
    whether records have come in or changed since it read them.

    Args:
        path: the leaderboard file; made when missing.
        store: where the cells are recorded.
        suite: name of the suite.
        on_problem: is told of a damaged file, or of impossible rows in it; it is then kept as ``<name>.corrupt``.

    Returns:
        The rows written, sorted as in the file.

    Raises:
        StorageError: the file is foreign or newer (it is left alone), or cannot be written.
    """
    while True:
        before, unused = store.record_stamps(), store.unused_weights()
        present = _present(path, on_problem)
        recorded = store.rows(suite)
        _copy_outcomes(recorded, store, outcomes_folder(path, suite))
        write_failed_attempts(path, store, recorded)
        rows = write_leaderboard(path, _merged(present, recorded, suite))
        if store.record_stamps() == before:
            for weights in unused:  # now that no row of the file was measured on them either
                with suppress(OSError):  # the next one will
                    weights.unlink(missing_ok=True)
            return rows


def outcomes_folder(path: Path, suite: str) -> Path:
    """Where the per-example outcomes beside a leaderboard file are."""
    return path.parent / suite / "outcomes"


def _present(path: Path, on_problem: Callable[[str], None]) -> list[Row]:
    """The rows of the file as it is; where something is wrong with it, a copy is kept before it is written anew."""
    content = read_bytes(path)
    if content is None:
        return []
    problems: list[str] = []
    rows: list[Row] = []
    try:
        rows = read_rows(path, on_problem=problems.append)
    except CorruptDataError as error:
        problems.append(error.message)
    if problems:
        aside = path.with_name(f"{path.name}.corrupt")
        write_bytes_atomically(aside, content)
        on_problem("; ".join(problems) + f"; kept as {aside.name}, and rebuilt from the cell records")
    return rows


def _merged(present: list[Row], recorded: list[Row], suite: str) -> list[Row]:
    merged = {row.cell_id: row for row in present if row.source == "measured"}
    for row in recorded:
        known = merged.get(row.cell_id)
        if known is None or known.status != "ok" or (row.status == "ok" and row.diagnostics >= known.diagnostics):
            merged[row.cell_id] = row
    merged = {cell_id: row for cell_id, row in merged.items() if row.status != "refused"}
    return [*merged.values(), *published_rows(suite)]


def _copy_outcomes(rows: list[Row], store: RunStore, folder: Path) -> None:
    for digest in sorted({row.outcomes_digest for row in rows if row.outcomes_digest}):
        copy = folder / f"{digest}.parquet"
        content = read_bytes(store.outcomes_path(digest))
        if content is not None and read_bytes(copy) != content and store.read_outcomes(digest) is not None:
            write_bytes_atomically(copy, content)  # one of them is damaged, and it is the copy
