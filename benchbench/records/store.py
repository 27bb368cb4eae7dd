"""The run store: cell records, outcomes and adversarial images, measurements, weights.

<root>/cells/<cell id>.json            the row, with the digest of its content
<root>/cells/<cell id>.failed.json     the same for a failed attempt; a finished record hides it
<root>/outcomes/<digest>.parquet
<root>/witnesses/<digest>.parquet
<root>/witnesses/<digest>.left-out     empty: they were left where they were found; their row counts as finished all the same
<root>/measurements/<digest of the scope>/<digest of the key>.safetensors
<root>/models/<model id>.safetensors                      the weights of a model
<root>/models/<model id>.next.safetensors                 their replacement, while a fresh run trains it
<root>/models/<model id>.<digest of weights>.safetensors  earlier weights that a row was measured on
"""

from __future__ import annotations

import dataclasses
import glob
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from benchbench.atomic import remove_leftovers, storage_errors, write_atomically, write_bytes_atomically
from benchbench.collector import collector_paused
from benchbench.errors import BenchbenchError, DataError
from benchbench.records.arrays import Array, check_footer, content_digest, read_arrays, to_array, write_arrays
from benchbench.records.disk import read_ahead, read_bytes, set_aside
from benchbench.records.envelope import NewerRecordError, pack_row, text_of_row, unpack_row, weights_in
from benchbench.records.measurements import StoredMeasurements
from benchbench.records.outcomes import WITNESSES
from benchbench.records.row import Row
from benchbench.records.rows import Rows
from benchbench.records.validity import rows_from_records

Content = TypeVar("Content")
_NEXT = ".next"
_AT_ONCE = 4096  # records that are read together
LEFT_OUT = ".left-out"  # the suffix of a file in the place of witnesses that were too large to bring along
_log = logging.getLogger(__name__)


class RunStore:
    """The records of runs in one folder, which processes may share: files appear whole.

    A damaged file is renamed to ``<name>.corrupt``, reported by one line to `on_problem`, and treated as missing, so that it is
    computed again. Methods raise `StorageError` if a file cannot be read or written; earlier records are then unchanged.
    """

    def __init__(self, root: Path, *, on_problem: Callable[[str], None] = _log.warning) -> None:
        self.root = root
        self._on_problem = on_problem
        self._cells = root / "cells"
        self._times: dict[str, tuple[int | None, int | None]] = {}  # of the records that `rows` read last
        self._rows = Rows.of([])
        self.known_stamps: list[tuple[str, int | None]] = []  # `record_stamps` of what `rows` returned last
        self.measurements = StoredMeasurements(root / "measurements", on_problem)
        kinds = (root / name for name in ("cells", "evaluations", "models", "outcomes", "witnesses"))
        for folder in (*kinds, *root.glob("measurements/*")):
            remove_leftovers(folder)

    def write_cell(
        self,
        row: Row,
        outcomes: Mapping[str, object] | None = None,
        witnesses: object | None = None,
        *,
        weights: str = "",
    ) -> Row:
        """Record a cell; its row is written last, so that it never names missing files.

        Outcomes are per-example columns (N,), witnesses the adversarial images, float32 (N, ...); the row returned has their
        digests. The weights with the digest `weights` are kept as long as the row is. A failed row never replaces a finished
        one.
        """
        recorded = dataclasses.replace(
            row,
            outcomes_digest=self._write_arrays("outcomes", outcomes) if outcomes else "",
            witnesses_digest="" if witnesses is None else self._write_arrays("witnesses", {WITNESSES: witnesses}),
        )
        self.write_row(recorded, weights=weights)
        return recorded

    def write_row(self, row: Row, *, weights: str) -> None:
        """Record a row whose outcomes and witnesses, if any, are in the store; see `write_cell`."""
        write_bytes_atomically(self._record(row.cell_id, failed=row.status != "ok"), pack_row(row, weights))
        if row.status == "ok":
            with suppress(OSError):  # the finished record hides a failed one that remains
                self._record(row.cell_id, failed=True).unlink(missing_ok=True)

    def read_cell(self, cell_id: str) -> Row | None:
        """The finished record of a cell, else the failed one, else None."""
        return self._read_record(self._record(cell_id, failed=False)) or self.read_failure(cell_id)

    def read_failure(self, cell_id: str) -> Row | None:
        """The last attempt at a cell if it failed, else None; an earlier attempt may have finished."""
        return self._read_record(self._record(cell_id, failed=True))

    def recorded_since(self, cell_id: str, before: tuple[int | None, int | None]) -> Row | None:
        """The record of a cell that was written since `record_times` returned `before`."""
        finished, failed = self.record_times(cell_id)
        if finished != before[0]:
            return self.read_cell(cell_id)
        return self.read_failure(cell_id) if failed != before[1] else None

    def finished_row(self, cell_id: str) -> Row | None:
        """A finished cell's row with all its files (of witnesses only the end is read), else None."""
        row = self.read_cell(cell_id)
        if row is None or row.status != "ok":
            return None
        if row.outcomes_digest and self.read_outcomes(row.outcomes_digest) is None:
            return None
        if not row.witnesses_digest:
            return row
        path = self._arrays_path("witnesses", row.witnesses_digest)
        return row if self._intact(path, lambda p: check_footer(p) or p.with_suffix(LEFT_OUT).exists()) else None

    def leave_out_witnesses(self, digest: str) -> None:
        """Let rows with these witnesses count as finished without them."""
        write_bytes_atomically(self._arrays_path("witnesses", digest).with_suffix(LEFT_OUT), b"")

    def require_witnesses(self, digest: str) -> None:
        """Let rows count as unfinished without these witnesses, again."""
        self._arrays_path("witnesses", digest).with_suffix(LEFT_OUT).unlink(missing_ok=True)

    def record_times(self, cell_id: str) -> tuple[int | None, int | None]:
        """When the finished and the failed record of a cell were written, in nanoseconds."""
        return (_modified(self._record(cell_id, failed=False)), _modified(self._record(cell_id, failed=True)))

    def rows(self, suite: str | None = None) -> Rows:
        """Records of all cells, or of a suite's, by cell id; a finished record hides a failed one."""
        self.known_stamps = self.record_stamps()
        stamps = dict(self.known_stamps)
        cells = sorted({_cell_id(name) for name in stamps})
        times = {cell: (stamps.get(f"{cell}.json"), stamps.get(f"{cell}.failed.json")) for cell in cells}
        changed = [cell for cell in cells if self._times.get(cell) != times[cell]]
        if changed or self._times.keys() - times.keys():
            gone = {*changed, *(self._times.keys() - times.keys())}
            kept = np.array([cell not in gone for cell in self._rows.values("cell_id")], dtype=bool)
            with collector_paused():
                found = Rows.joined([self._rows.where(kept), self._read_rows(changed)])
            self._rows, self._times = found.take(np.argsort(found.ranks("cell_id"))), times
        return self._rows if suite is None else self._rows.where(self._rows.having("suite", suite))

    def _read_rows(self, cells: list[str]) -> Rows:
        """The rows of some cells, many at once; damaged, failed and impossible ones one by one."""
        parts = []
        blocks = (cells[start : start + _AT_ONCE] for start in range(0, len(cells), _AT_ONCE))
        for block, texts in read_ahead(self._read_texts, blocks):
            rows, doubtful = rows_from_records([*texts.values()])
            expected = [cell for cell, one in zip(texts, doubtful.tolist()) if not one]
            right = np.array([a == b for a, b in zip(expected, rows.values("cell_id"))], dtype=bool)
            known = {cell for cell, one in zip(expected, right.tolist()) if one}
            single = map(self.read_cell, (cell for cell in block if cell not in known))
            parts += [rows.where(right), Rows.of([row for row in single if row is not None])]
        return Rows(pa.concat_tables([part.table for part in parts]).combine_chunks()) if parts else Rows.of([])

    def _read_texts(self, cells: list[str]) -> dict[str, bytes]:
        """The intact finished records of some cells, as canonical JSON."""
        contents = ((cell, read_bytes(self._record(cell, failed=False))) for cell in cells)
        return {cell: text for cell, content in contents if content and (text := text_of_row(content))}

    def record_names(self) -> list[str]:
        """Names of the record files, sorted."""
        return [name for name, _ in self.record_stamps()]

    def record_stamps(self) -> list[tuple[str, int | None]]:
        """Name and time of each record file: a cheap way to see whether records have changed."""
        with storage_errors(self._cells):
            try:
                with os.scandir(self._cells) as found:
                    return sorted((one.name, _modified(one)) for one in found if one.name.endswith(".json"))
            except FileNotFoundError:
                return []

    @property
    def claims(self) -> Path:
        """The folder in which processes that share the store claim cells."""
        return self.root / "claims"

    def checkpoint_path(self, model_id: str) -> Path:
        """The file of a model's weights."""
        return self.root / "models" / checkpoint_name(model_id)

    def successor_path(self, model_id: str) -> Path:
        """The file in which a fresh run trains the replacement of a model's weights."""
        return self.root / "models" / checkpoint_name(f"{model_id}{_NEXT}")

    def kept_path(self, model_id: str, weights: str) -> Path:
        """The file of replaced weights of a model that a row was measured on."""
        return self.root / "models" / checkpoint_name(f"{model_id}.{weights}")

    def unused_weights(self) -> list[Path]:
        """Kept weights that no finished row used; none of a model whose records name no weights."""
        kept = _kept(self.root / "models", "*")
        if not kept:
            return []
        names = [name for name in self.record_names() if _cell_id(name) == name.removesuffix(".json")]
        used = {measured for name in names if (measured := self._measured_on(self._cells / name)) is not None}
        unsaid = {model_id for model_id, weights in used if not weights}
        return [p for p in kept if (*p.stem.split("."),) not in used and p.stem.partition(".")[0] not in unsaid]

    def weights_of(self, cell_id: str) -> str:
        """Digest of the weights that a finished cell was measured on; empty if its record has none."""
        measured = self._measured_on(self._record(cell_id, failed=False))
        return "" if measured is None else measured[1]

    def outcomes_path(self, digest: str) -> Path:
        """The file of the outcomes with this digest."""
        return self._arrays_path("outcomes", digest)

    def read_outcomes(self, digest: str) -> dict[str, Array] | None:
        """Per-example columns (N,) by name; None if missing or damaged."""
        return self._read_arrays("outcomes", digest)

    def read_witnesses(self, digest: str) -> Array | None:
        """Adversarial images, float32 (N, ...), bit for bit; None if missing or damaged."""
        arrays = self._read_arrays("witnesses", digest)
        return None if arrays is None else arrays.get(WITNESSES)

    def _measured_on(self, record: Path) -> tuple[str, str] | None:
        """Model id and digest of the weights in a record; no digest is an empty one."""
        row = self._read_record(record)
        return None if row is None else (row.model_id, weights_in(record.read_bytes()))

    def _record(self, cell_id: str, *, failed: bool) -> Path:
        return self._cells / f"{cell_id}{'.failed' if failed else ''}.json"

    def _read_record(self, path: Path) -> Row | None:
        content = read_bytes(path)

        def unpacked(path: Path) -> Row:
            row = unpack_row(content or b"")
            if _cell_id(path.name) != row.cell_id:
                raise DataError(f"it is the record of cell {row.cell_id}")
            return row

        return None if content is None else self._intact(path, unpacked)

    def _arrays_path(self, kind: str, digest: str) -> Path:
        return self.root / kind / f"{digest}.parquet"

    def _write_arrays(self, kind: str, columns: Mapping[str, object]) -> str:
        arrays = {name: to_array(name, values) for name, values in columns.items()}
        digest = content_digest(arrays)
        if self._read_arrays(kind, digest) is None:
            write_atomically(self._arrays_path(kind, digest), lambda path: write_arrays(path, arrays))
        return digest

    def _read_arrays(self, kind: str, digest: str) -> dict[str, Array] | None:
        return self._intact(self._arrays_path(kind, digest), lambda path: read_arrays(path, digest))

    def _intact(self, path: Path, read: Callable[[Path], Content]) -> Content | None:
        """Read a file; one that is damaged is renamed and reported, and None returned."""
        try:
            return read(path)
        except NewerRecordError:
            raise
        except BenchbenchError as error:
            aside = set_aside(path).name
            self._on_problem(f"{error.message}; {path.name} set aside as {aside}, to be computed again")
            return None


def checkpoint_name(model_id: str) -> str:
    """The file name of a model's weights, in the folder ``models`` of a store or a submission."""
    return f"{model_id}.safetensors"


def kept_checkpoints(path: Path) -> list[Path]:
    """Files with earlier weights of the model at a path; see `RunStore.kept_path`."""
    return _kept(path.parent, glob.escape(path.name.removesuffix(checkpoint_name(""))))


def _kept(folder: Path, model_id: str) -> list[Path]:
    found = folder.glob(checkpoint_name(f"{model_id}.*")) if folder.is_dir() else ()
    return sorted(path for path in found if not path.name.endswith(checkpoint_name(_NEXT)))


def _cell_id(record_name: str) -> str:
    return record_name.removesuffix(".json").removesuffix(".failed")


def _modified(path: Path | os.DirEntry[str]) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
