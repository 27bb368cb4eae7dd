"""Merge leaderboards: keep equal results once, list conflicts, refuse different protocols."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchbench.atomic import at_once, write_bytes_atomically
from benchbench.errors import DataError
from benchbench.leaderboard.identity import values
from benchbench.leaderboard.names import configured
from benchbench.leaderboard.published import unshipped
from benchbench.records import Row, Rows
from benchbench.records.arrays import is_intact
from benchbench.records.disk import file_names, read_bytes

_COST = ("train_seconds", "evaluate_seconds", "peak_memory_bytes", "queries")
_RESULTS = (
    *(f.name for f in dataclasses.fields(Row) if str(f.type) == "float | None" and f.name not in _COST),
    *("flags", "extra", "outcomes_digest", "witnesses_digest"),
)
_EXPERIMENT = ("profile", "experiment", "dataset", "attack")
_FIXED = ("protocol", "dataset_digest", "n_train", "n_train_evaluated", "n_test", "trained_on")
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

    rows: Rows
    repeated: int
    conflicts: tuple[Conflict, ...]


def merge(boards: Mapping[str, Sequence[Row]]) -> Merged:
    """Merge rows: finished rows replace failed ones of a cell, newer diagnostics older ones.

    The boards are rows by name of their file, in order of precedence: equal results keep the provenance of the first. Different
    suites, or one experiment under different protocols, subsets or dataset digests, are a DataError that names every
    difference.
    """
    tables = {name: Rows.of(rows) for name, rows in boards.items()}
    _refuse_other_protocols(tables)
    everything, names = Rows.joined(tables.values()), [name for name, rows in tables.items() for _ in range(len(rows))]
    _, first, cells = np.unique(everything.codes("cell_id"), return_index=True, return_inverse=True)
    later = np.delete(np.arange(len(everything)), first)
    changed = everything.differing(first[cells[later]], later, (*_RESULTS, "status", "diagnostics"))
    unequal = np.flatnonzero(np.isin(cells, cells[later[changed]]))
    repeated = len(everything) - len(unequal) - (len(first) - len(np.unique(cells[unequal])))
    conflicts = []
    kept: dict[int, tuple[int, Row]] = {}  # by cell: the place of the row that stands, and the row
    for place, row in zip(unequal.tolist(), everything.take(unequal)):
        cell = int(cells[place])
        before, known = kept.setdefault(cell, (place, row))
        if before == place or (known.status != "ok" and row.status == "ok"):
            kept[cell] = (place, row)
            continue
        differing = _differing(known, row) if row.status == "ok" else {}
        if differing and row.source == "measured":
            conflicts.append(Conflict(cell_id=row.cell_id, first=names[before], second=names[place], columns=differing))
            continue
        repeated += 1
        if not differing and row.diagnostics > known.diagnostics:
            kept[cell] = (place, row)
    standing = np.array([kept[cell][0] if cell in kept else at for cell, at in enumerate(first.tolist())], dtype=int)
    return Merged(rows=everything.take(standing[np.argsort(first)]), repeated=repeated, conflicts=tuple(conflicts))


def copy_evidence(rows: Iterable[Row], folders: Sequence[Path], target: Path) -> int:
    """Copy rows' outcomes and witnesses from `folders` to `target`; return the number of files.

    Damaged files are not copied, and intact ones take their places.
    """
    listed, copies = Rows.of(rows), list[tuple[list[Path], Path]]()
    for kind in _KINDS:
        held = [(folder / kind, file_names(folder / kind)) for folder in folders]
        for (digest,) in sorted(listed.distinct(f"{kind}_digest")[0]):
            name = f"{digest}.parquet"
            copies.append(([folder / name for folder, names in held if name in names], target / kind / name))
    return sum(at_once(_copy, copies))


def _copy(files: tuple[Sequence[Path], Path]) -> bool:
    """Copy the first intact file found, unless the copy is intact or none can be better."""
    found, copy = files
    if not found or (copy.exists() and (_are_equal([*found, copy]) or is_intact(copy, copy.stem))):
        return False
    content = next((read_bytes(path) for path in found if is_intact(path, path.stem)), None)
    if content is not None:
        write_bytes_atomically(copy, content)
    return content is not None


def _are_equal(paths: Sequence[Path]) -> bool:
    """Whether files hold the same bytes, so that none can take the place of another damaged one."""
    return len({read_bytes(path) for path in paths}) == 1


def without_evidence(rows: Iterable[Row], target: Path) -> list[str]:
    """The finished, measured cells whose outcomes or witnesses are not in `target`.

    Published rows that do not ship with benchbench have no evidence either.
    """
    listed = Rows.of(rows)
    bare = np.zeros(len(listed), dtype=bool)
    for kind in _KINDS:
        kept = (name.removesuffix(".parquet") for name in file_names(target / kind))
        bare |= ~listed.having(f"{kind}_digest", *kept)
    finished = listed.having("source", "measured") & listed.having("status", "ok")
    foreign = [row.cell_id for row in unshipped(listed.where(listed.having("source", "published")))]
    return [*(str(cell_id) for cell_id in listed.where(finished & bare).values("cell_id")), *foreign]


def _differing(first: Row, second: Row) -> dict[str, tuple[object, object]]:
    """Results that differ; flags count only where both rows have the same diagnostics."""
    pairs = {name: (getattr(first, name), getattr(second, name)) for name in _RESULTS}
    outdated = {"flags"} if first.diagnostics != second.diagnostics else set()
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and name not in outdated}


def _refuse_other_protocols(boards: Mapping[str, Rows]) -> None:
    suites = {name: rows[0].suite for name, rows in boards.items() if rows}
    if len(set(suites.values())) > 1:
        raise DataError(
            "the files are of different suites: " + ", ".join(f"{name} of {suite}" for name, suite in suites.items()),
            hint="merge leaderboards of one suite",
        )
    problems: dict[str, None] = {}
    stated: dict[tuple[object, ...], tuple[str, dict[str, object]]] = {}
    for name, rows in _in_doubt(boards):
        mine: dict[tuple[object, ...], dict[str, object]] = {}
        for row in rows:
            mine.setdefault(_experiment(row), {column: getattr(row, column) for column in _FIXED})
        for key, fixed in mine.items():
            other, theirs = stated.setdefault(key, (name, fixed))
            for column in fixed:
                if fixed[column] != theirs[column]:
                    where = f"experiment {key[1]} ({key[2]}, {key[0]} profile)"
                    problems[f"{where}: {column} is {theirs[column]!r} in {other}, {fixed[column]!r} in {name}"] = None
    if problems:
        raise DataError("the files cannot be merged: " + "; ".join(problems), hint="their rows are not comparable")


def _in_doubt(boards: Mapping[str, Rows]) -> list[tuple[str, Rows]]:
    """Measured rows of experiments that differ in `_FIXED`, perhaps by dataset options.

    No protocol binds models that were trained elsewhere.
    """
    measured = {
        name: rows.where(rows.having("source", "measured") & rows.known("defense")) for name, rows in boards.items()
    }
    found = {values for rows in measured.values() for values in rows.distinct(*_EXPERIMENT, *_FIXED)[0]}
    counts = Counter(values[: len(_EXPERIMENT)] for values in found)
    return [
        (name, rows.where(rows.each(lambda *values: counts[values] > 1, *_EXPERIMENT)))
        for name, rows in measured.items()
    ]


def _experiment(row: Row) -> tuple[object, ...]:
    """Key of rows that must agree in `_FIXED`: experiment, profile, dataset and its options."""
    options = json.dumps(configured(row, "training", "dataset", "options"), sort_keys=True)
    return *values(row, _EXPERIMENT), options
