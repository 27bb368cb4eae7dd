"""Merge leaderboards: keep equal results once, list conflicts, refuse different protocols."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchbench.atomic import write_bytes_atomically
from benchbench.errors import DataError
from benchbench.leaderboard.names import configured
from benchbench.records import Row
from benchbench.records.disk import read_bytes

_COST = ("train_seconds", "evaluate_seconds", "peak_memory_bytes", "queries")
_RESULTS = (
    *(f.name for f in dataclasses.fields(Row) if str(f.type) == "float | None" and f.name not in _COST),
    "flags",
    "extra",
    "outcomes_digest",
    "witnesses_digest",
)
_KINDS = ("outcomes", "witnesses")


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """A cell with different results: the file that stands, the one that differs, their values."""

    cell_id: str
    first: str
    second: str
    columns: Mapping[str, tuple[object, object]]

    def __str__(self) -> str:
        listed = ", ".join(f"{name} {one!r} and {other!r}" for name, (one, other) in self.columns.items())
        return f"cell {self.cell_id} has different results in {self.first} and {self.second}: {listed}"


@dataclass(frozen=True, kw_only=True)
class Merged:
    """The rows of all files, of conflicts the first; `repeated` counts rows in several files."""

    rows: tuple[Row, ...]
    repeated: int
    conflicts: tuple[Conflict, ...]


def merge(boards: Mapping[str, Sequence[Row]]) -> Merged:
    """Merge rows: finished rows replace failed ones of a cell, newer diagnostics older ones.

    Rows with equal results keep the provenance of the first file.

    Args:
        boards: rows by name of their file, in order of precedence.

    Raises:
        DataError: files of different suites, or one experiment under different protocols, subsets or dataset digests; the
            message names every difference.
    """
    _refuse_other_protocols(boards)
    kept: dict[str, tuple[str, Row]] = {}
    conflicts = []
    repeated = 0
    for name, rows in boards.items():
        for row in rows:
            known = kept.get(row.cell_id)
            if known is None or (known[1].status != "ok" and row.status == "ok"):
                kept[row.cell_id] = (name, row)
                continue
            differing = _differing(known[1], row) if row.status == "ok" else {}
            if differing and row.source == "measured":
                conflicts.append(Conflict(cell_id=row.cell_id, first=known[0], second=name, columns=differing))
                continue
            repeated += 1
            if not differing and row.diagnostics > known[1].diagnostics:
                kept[row.cell_id] = (name, row)
    return Merged(rows=tuple(row for _, row in kept.values()), repeated=repeated, conflicts=tuple(conflicts))


def copy_evidence(rows: Iterable[Row], folders: Sequence[Path], target: Path) -> int:
    """Copy rows' outcomes and witnesses from `folders` to `target`; return the number of files.

    Raises:
        StorageError: they cannot be written.
    """
    copied = 0
    for kind in _KINDS:
        for digest in sorted({digest for row in rows if (digest := getattr(row, f"{kind}_digest"))}):
            copy = target / kind / f"{digest}.parquet"
            found = (read_bytes(folder / kind / f"{digest}.parquet") for folder in folders)
            content = None if copy.exists() else next((each for each in found if each is not None), None)
            if content is not None:
                write_bytes_atomically(copy, content)
                copied += 1
    return copied


def without_evidence(rows: Iterable[Row], target: Path) -> list[str]:
    """The finished, measured cells whose outcomes or witnesses are not in `target`."""
    kept = {f"{kind}_digest": {path.stem for path in (target / kind).glob("*.parquet")} for kind in _KINDS}
    finished = (row for row in rows if row.source == "measured" and row.status == "ok")
    return [row.cell_id for row in finished if any(getattr(row, name) not in found for name, found in kept.items())]


def _differing(first: Row, second: Row) -> dict[str, tuple[object, object]]:
    """Results that differ; flags count only where both rows have the same diagnostics."""
    pairs = {name: (getattr(first, name), getattr(second, name)) for name in _RESULTS}
    outdated = {"flags"} if first.diagnostics != second.diagnostics else set()
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and name not in outdated}


def _refuse_other_protocols(boards: Mapping[str, Sequence[Row]]) -> None:
    suites = {name: rows[0].suite for name, rows in boards.items() if rows}
    if len(set(suites.values())) > 1:
        raise DataError(
            "the files are of different suites: " + ", ".join(f"{name} of {suite}" for name, suite in suites.items()),
            hint="merge leaderboards of one suite",
        )
    problems: dict[str, None] = {}
    stated: dict[tuple[object, ...], tuple[str, dict[str, object]]] = {}
    for name, rows in boards.items():
        mine: dict[tuple[object, ...], dict[str, object]] = {}
        for row in (row for row in rows if row.source == "measured"):
            mine.setdefault(_experiment(row), _fixed(row))
        for key, fixed in mine.items():
            other, theirs = stated.setdefault(key, (name, fixed))
            for column in fixed:
                if fixed[column] != theirs[column]:
                    where = f"experiment {key[1]} ({key[2]}, {key[0]} profile)"
                    problems[f"{where}: {column} is {theirs[column]!r} in {other}, {fixed[column]!r} in {name}"] = None
    if problems:
        raise DataError("the files cannot be merged: " + "; ".join(problems), hint="their rows are not comparable")


def _experiment(row: Row) -> tuple[object, ...]:
    """Key of rows that must agree in `_fixed`: experiment, profile, dataset and its options."""
    options = json.dumps(configured(row, "training", "dataset", "options"), sort_keys=True)
    return row.profile, row.experiment, row.dataset, row.attack, options


def _fixed(row: Row) -> dict[str, object]:
    names = ("protocol", "dataset_digest", "n_train", "n_train_evaluated", "n_test", "trained_on")
    return {name: getattr(row, name) for name in names}
