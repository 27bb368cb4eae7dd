"""Leaderboards: one sorted Parquet file per suite, atomic, rebuildable from cell records."""

from __future__ import annotations

import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchbench.atomic import write_bytes_atomically
from benchbench.errors import CorruptDataError, DataError, StorageError, first
from benchbench.records import Row, rows_from_table, table_from_rows
from benchbench.records.disk import read_bytes
from benchbench.records.parquet import read_parquet
from benchbench.records.schema import check_schema

_log = logging.getLogger(__name__)
_REBUILT = "benchbench run sets it aside and rebuilds it from the cell records"
_SORTED_BY = (
    "source",
    "dataset",
    "architecture",
    "architecture_options",
    "augmentation",
    "dropout",
    "attack",
    "attack_options",
    "defense",
    "defense_options",
    "seed",
    "profile",
    "trained_on",
    "epsilon",
    "n_train",
    "experiment",
    "cell_id",
)


def write_leaderboard(path: Path, rows: Iterable[Row]) -> list[Row]:
    """Write a leaderboard atomically and return its rows, sorted.

    Equal rows give equal bytes (under one version of pyarrow); a file that already holds them is not touched.

    Raises:
        DataError: two rows have the same cell id, or belong to different suites.
        StorageError: no space, no permission, ...; the file stays as it was.
    """
    ordered = sorted(rows, key=_sort_key)
    suites = sorted({row.suite for row in ordered})
    problems = [f"rows of several suites: {', '.join(suites)}"] if len(suites) > 1 else []
    counts = sorted(Counter(row.cell_id for row in ordered).items())
    problems += [f"cell {cell_id} is there twice" for cell_id, count in counts if count > 1]
    if problems:
        raise DataError(f"cannot write {path}: " + "; ".join(problems))
    buffer = io.BytesIO()
    pq.write_table(table_from_rows(ordered), buffer, compression="zstd", write_page_checksum=True)
    content = buffer.getvalue()
    if read_bytes(path) != content:
        write_bytes_atomically(path, content)
    return ordered


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
    return table_from_rows(read_rows(Path(path), on_problem=on_problem))


def read_rows(path: Path, *, on_problem: Callable[[str], None] = _log.warning) -> list[Row]:
    """The rows of a leaderboard file, sorted; arguments and errors as for `read_leaderboard`."""
    content = read_bytes(path)
    if content is None:
        raise StorageError(f"there is no leaderboard {path}", hint="benchbench run writes one; check the path")
    if not content:
        raise CorruptDataError(f"{path} is empty", hint=_REBUILT)
    problems: list[str] = []
    rows = rows_from_table(_parse(content, path), on_problem=lambda problem: problems.append(f"{path}: {problem}"))
    rows = sorted(_one_suite(rows, path, problems.append), key=_sort_key)
    for problem in first(problems):
        on_problem(problem)
    return rows


def _parse(content: bytes, path: Path) -> pa.Table:
    if not content.startswith(b"PAR1"):
        raise StorageError(f"{path} is not a Parquet file", hint="name a file that benchbench run wrote")
    where = str(path)
    return read_parquet(content, where, hint=_REBUILT, check=lambda schema: check_schema(schema, where))


def _one_suite(rows: list[Row], path: Path, on_problem: Callable[[str], None]) -> list[Row]:
    """The rows of the first row's suite, the first row of each cell only."""
    kept: dict[str, Row] = {}
    for row in rows:
        suite = next(iter(kept.values())).suite if kept else row.suite
        if row.suite != suite:
            on_problem(f"{path}: cell {row.cell_id} is of suite {row.suite!r}, not {suite!r}; left out")
        elif row.cell_id in kept:
            on_problem(f"{path}: cell {row.cell_id} is there twice; the second row is left out")
        else:
            kept[row.cell_id] = row
    return list(kept.values())


def _sort_key(row: Row) -> tuple[Any, ...]:
    """Options are ordered by value, beta 3 before beta 10; the cell id makes the order total."""
    return tuple(
        _options_order(getattr(row, name)) if name.endswith("_options") else getattr(row, name) for name in _SORTED_BY
    )


def _options_order(text: str) -> tuple[Any, ...]:
    try:
        options = dict(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return ((text, 2, 0.0, ""),)
    return tuple(
        (name, 0, item, "") if isinstance(item, (int, float)) else (name, 1, 0.0, json.dumps(item))
        for name, item in sorted(options.items())
    )
