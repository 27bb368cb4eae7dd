"""Leaderboards: one sorted Parquet file per suite, atomic, rebuildable from cell records."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchbench.arguments import checked
from benchbench.atomic import write_bytes_atomically
from benchbench.errors import CorruptDataError, DataError, StorageError, first
from benchbench.records import Row, Rows, rows_from_table
from benchbench.records.claims import Claims
from benchbench.records.disk import read_bytes
from benchbench.records.parquet import read_parquet
from benchbench.records.schema import check_schema, schema

_log = logging.getLogger(__name__)
_REBUILT = "benchbench run sets it aside and rebuilds it from the cell records"
_POLL_SECONDS = 0.1
_AT_ONCE = 10_000  # rows that are written together: to copy all of 150,000 takes half a GiB
_SORTED_BY = (
    *("source", "dataset", "architecture", "architecture_options", "augmentation", "dropout", "attack"),
    *("attack_options", "defense", "defense_options", "seed", "profile", "trained_on", "epsilon", "n_train"),
    *("experiment", "cell_id"),
)


def write_leaderboard(path: Path, rows: Iterable[Row]) -> Rows:
    """Write a leaderboard atomically and return its rows, sorted; equal rows give equal bytes.

    A file that already holds them is not touched. A cell that is there twice and rows of different suites are a DataError.
    """
    ordered = _sorted(Rows.of(rows).uncached()).uncached()
    suites = sorted(suite for (suite,) in ordered.distinct("suite")[0])
    problems = [f"rows of several suites: {', '.join(suites)}"] if len(suites) > 1 else []
    codes = ordered.codes("cell_id")
    doubled = np.flatnonzero(np.bincount(codes) > 1)
    twice = sorted({*ordered.where(np.isin(codes, doubled)).values("cell_id")}) if len(doubled) else []
    problems += [f"cell {cell_id} is there twice" for cell_id in twice]
    if problems:
        raise DataError(f"cannot write {path}: " + "; ".join(problems))
    buffer = io.BytesIO()
    # each row has its own configuration, the longest text by far: a dictionary of them only takes time
    repeated = [name for name in schema().names if name != "configuration"]
    options = {"compression": "zstd", "use_dictionary": repeated, "write_page_checksum": True}
    with pq.ParquetWriter(buffer, schema(), **options) as writer:
        for start in range(0, max(len(ordered), 1), _AT_ONCE):
            writer.write_table(ordered[start : start + _AT_ONCE].table.combine_chunks())
    content = buffer.getvalue()
    if read_bytes(path) != content:
        write_bytes_atomically(path, content)
    return ordered


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a leaderboard file while it is changed: of two at once, one loses the other's rows."""
    claims = Claims(path.parent / path.stem / "claims")
    with ExitStack() as stack:
        while True:
            try:
                if stack.enter_context(claims.held("leaderboard")):
                    break
            except StorageError:  # where no claim can be written, no leaderboard can
                break
            time.sleep(_POLL_SECONDS)
        yield


@checked
def read_leaderboard(path: Path | str, *, on_problem: Callable[[str], None] = _log.warning) -> pa.Table:
    """Read a leaderboard and check it.

    Args:
        path: a file that `write_leaderboard` wrote.
        on_problem: receives a message about each impossible row (NaN, accuracy above 1, another suite, a cell twice). Such
            rows are left out of the result; the file is not changed.

    Returns:
        A table in the schema of `benchbench.records.schema`, sorted.

    Raises:
        StorageError: the file is missing, foreign, or of another schema version.
        CorruptDataError: it is empty, truncated or damaged.
    """
    return read_rows(Path(path), on_problem=on_problem).table


def read_rows(path: Path, *, on_problem: Callable[[str], None] = _log.warning, in_order: bool = True) -> Rows:
    """The rows of a leaderboard file, sorted or as they stand there; else as `read_leaderboard`.

    Rows that are only copied need no order, nor columns in one piece, which takes a third longer.
    """
    content = read_bytes(path)
    if content is None:
        raise StorageError(f"there is no leaderboard {path}", hint="benchbench run writes one; check the path")
    if not content:
        raise CorruptDataError(f"{path} is empty", hint=_REBUILT)
    problems: list[str] = []
    rows = rows_from_table(
        _parse(content, path, whole=in_order), on_problem=lambda problem: problems.append(f"{path}: {problem}")
    )
    rows = _one_suite(rows, path, problems.append)
    for problem in first(problems):
        on_problem(problem)
    return _sorted(rows) if in_order else rows


def _parse(content: bytes, path: Path, *, whole: bool) -> pa.Table:
    if not content.startswith(b"PAR1"):
        raise StorageError(f"{path} is not a Parquet file", hint="name a file that benchbench run wrote")
    where = str(path)
    return read_parquet(content, where, hint=_REBUILT, check=lambda schema: check_schema(schema, where), whole=whole)


def _one_suite(rows: Rows, path: Path, on_problem: Callable[[str], None]) -> Rows:
    """The rows of the first row's suite, the first row of each cell only."""
    suite = rows[0].suite if len(rows) else ""
    own = np.flatnonzero(rows.having("suite", suite))
    kept = np.zeros(len(rows), dtype=bool)
    kept[own[np.unique(rows.codes("cell_id")[own], return_index=True)[1]]] = True
    for row in () if kept.all() else rows.where(~kept):
        other = f"is of suite {row.suite!r}, not {suite!r}; left out"
        doubled = "is there twice; the second row is left out"
        on_problem(f"{path}: cell {row.cell_id} {doubled if row.suite == suite else other}")
    return rows.where(kept)


def _sorted(rows: Rows) -> Rows:
    """Options are ordered by value, beta 3 before beta 10; the cell id makes the order total."""
    by_value = [name for name in _SORTED_BY if name.endswith("_options")]
    ranks = [rows.ranks_by(_options_order, name) if name in by_value else rows.ranks(name) for name in _SORTED_BY]
    return rows.take(np.lexsort(ranks[::-1]))


def _options_order(text: str | None) -> tuple[object, ...]:
    try:
        options = dict(json.loads(text or ""))
    except (ValueError, TypeError, RecursionError):
        return ((text or "", 2, 0.0, ""),)
    return tuple(
        (name, 0, item, "") if isinstance(item, (int, float)) else (name, 1, 0.0, json.dumps(item))
        for name, item in sorted(options.items())
    )
