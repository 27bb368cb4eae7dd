"""The run store: one record per cell, per-example outcomes and adversarial images by digest, measurements by key.

<root>/cells/<cell id>.json            the row, with the digest of its content
<root>/cells/<cell id>.failed.json     the same for a cell that failed; never hides a finished one
<root>/outcomes/<digest>.parquet
<root>/witnesses/<digest>.parquet
<root>/witnesses/<digest>.left-out     empty: they were left where they were found; their row counts as finished all the same
<root>/measurements/<digest of the scope>/<digest of the key>.safetensors
<root>/models/<model id>.safetensors                      the weights of a model
<root>/models/<model id>.next.safetensors                 their successor, which a fresh run trains
<root>/models/<model id>.<digest of weights>.safetensors  earlier weights that a row was measured on
"""

from __future__ import annotations

import dataclasses
import glob
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from benchbench.atomic import storage_errors, write_atomically, write_bytes_atomically
from benchbench.errors import BenchbenchError, DataError, StorageError
from benchbench.records.arrays import Array, check_footer, content_digest, read_arrays, to_array, write_arrays
from benchbench.records.disk import read_bytes, remove_stale_temporaries, set_aside
from benchbench.records.envelope import NewerRecordError, pack_row, unpack_row, weights_in
from benchbench.records.measurements import StoredMeasurements
from benchbench.records.outcomes import WITNESSES
from benchbench.records.row import Row

_NEXT = ".next"
LEFT_OUT = ".left-out"  # the suffix of a file in the place of witnesses that were too large to bring along
_log = logging.getLogger(__name__)


class RunStore:
    """What runs have recorded in one folder. Processes may share it: files appear whole or not at all.

    Damaged files are set aside as ``<name>.corrupt``, reported, and treated as missing, so that they are computed again.

    Args:
        root: made on demand.
        on_problem: is told of damaged files in one line each; logged as warnings by default.
    """

    def __init__(self, root: Path, *, on_problem: Callable[[str], None] = _log.warning) -> None:
        self.root = root
        self._on_problem = on_problem
        self.measurements = StoredMeasurements(root / "measurements", on_problem)
        for folder in (self._cells, root / "outcomes", root / "witnesses"):
            remove_stale_temporaries(folder)

    @property
    def _cells(self) -> Path:
        return self.root / "cells"

    def write_cell(
        self,
        row: Row,
        outcomes: Mapping[str, object] | None = None,
        witnesses: object | None = None,
        *,
        weights: str = "",
    ) -> Row:
        """Record a cell; the row goes last, so that it never names files that are not there.

        Args:
            row: its digests are filled in here. A failed row is kept beside, and never replaces, a finished one.
            outcomes: per-example columns of equal length (N,): tensors, arrays or lists of numbers.
            witnesses: the adversarial images, float32 (N, ...).
            weights: digest of the weights that the row was measured on; they are kept as long as the row is.

        Returns:
            The row as recorded.

        Raises:
            StorageError: no space, no permission, ...; earlier records are as they were.
            DataError: outcomes that are no numbers or differ in length.
        """
        recorded = dataclasses.replace(
            row,
            outcomes_digest=self._write_arrays("outcomes", outcomes) if outcomes else "",
            witnesses_digest="" if witnesses is None else self._write_arrays("witnesses", {WITNESSES: witnesses}),
        )
        self.write_row(recorded, weights=weights)
        return recorded

    def write_row(self, row: Row, *, weights: str) -> None:
        """Record a row whose outcomes and witnesses, if it has any, are in the store.

        Args:
            weights: see `write_cell`.

        Raises:
            StorageError: no space, no permission, ...; earlier records are as they were.
        """
        write_bytes_atomically(self._record(row.cell_id, failed=row.status != "ok"), pack_row(row, weights))
        if row.status == "ok":
            with suppress(OSError):  # what remains is hidden by the finished record
                self._record(row.cell_id, failed=True).unlink(missing_ok=True)

    def read_cell(self, cell_id: str) -> Row | None:
        """The record of a cell: the finished one if there is one, else the failed one, else None.

        Raises:
            StorageError: it is there but cannot be read.
        """
        finished = self._read_record(self._record(cell_id, failed=False))
        return finished or self._read_record(self._record(cell_id, failed=True))

    def read_failure(self, cell_id: str) -> Row | None:
        """The last attempt at a cell, if it failed; an earlier one may have finished.

        Raises:
            StorageError: it is there but cannot be read.
        """
        return self._read_record(self._record(cell_id, failed=True))

    def recorded_since(self, cell_id: str, before: tuple[int | None, int | None]) -> Row | None:
        """What was recorded of a cell since `record_times` gave `before`: its finished row, or else the failed one."""
        finished, failed = self.record_times(cell_id)
        if finished != before[0]:
            return self.read_cell(cell_id)
        return self.read_failure(cell_id) if failed != before[1] else None

    def finished_row(self, cell_id: str) -> Row | None:
        """The row of a finished cell whose record names only what is there and, as far as is cheap to tell, whole; else None.

        Failed cells are to be tried again, as are those whose outcomes are damaged or whose witnesses are truncated or gone;
        the content of witnesses, which are large, is checked by who reads them.
        """
        row = self.read_cell(cell_id)
        if row is None or row.status != "ok":
            return None
        if row.outcomes_digest and self.read_outcomes(row.outcomes_digest) is None:
            return None
        return None if row.witnesses_digest and not self._is_whole("witnesses", row.witnesses_digest) else row

    def is_done(self, cell_id: str) -> bool:
        """Whether a cell has a `finished_row`."""
        return self.finished_row(cell_id) is not None

    def record_times(self, cell_id: str) -> tuple[int | None, int | None]:
        """When the finished and the failed record of a cell were written, in nanoseconds; to see whether they have changed."""
        return (_modified(self._record(cell_id, failed=False)), _modified(self._record(cell_id, failed=True)))

    def rows(self, suite: str | None = None) -> list[Row]:
        """Records of all cells of a suite, or of all suites, by cell id; a finished record hides a failed one."""
        found = (self.read_cell(cell_id) for cell_id in sorted({_cell_id(name) for name in self.record_names()}))
        return [row for row in found if row is not None and suite in (None, row.suite)]

    def record_names(self) -> list[str]:
        """Names of the record files, sorted.

        Raises:
            StorageError: the folder cannot be read.
        """
        with storage_errors(self._cells):
            try:
                return sorted(path.name for path in self._cells.iterdir() if path.suffix == ".json")
            except FileNotFoundError:
                return []

    def record_stamps(self) -> list[tuple[str, int | None]]:
        """Name and time of each record file; cheap, to see whether records have been added or replaced."""
        return [(name, _modified(self._cells / name)) for name in self.record_names()]

    @property
    def claims(self) -> Path:
        """The folder in which processes that share the store claim cells."""
        return self.root / "claims"

    def checkpoint_path(self, model_id: str) -> Path:
        """Where the weights of a model are, or are to be."""
        return self.root / "models" / checkpoint_name(model_id)

    def successor_path(self, model_id: str) -> Path:
        """Where a fresh run trains the weights that are to replace those of a model."""
        return self.root / "models" / checkpoint_name(f"{model_id}{_NEXT}")

    def kept_path(self, model_id: str, weights: str) -> Path:
        """Where weights are kept that are not the model's any more, but that a row was measured on."""
        return self.root / "models" / checkpoint_name(f"{model_id}.{weights}")

    def unused_weights(self) -> list[Path]:
        """Kept weights that no finished row was measured on; rows of older versions do not say what they were measured on."""
        kept = _kept(self.root / "models", "*")
        if not kept:
            return []
        names = [name for name in self.record_names() if _cell_id(name) == name.removesuffix(".json")]
        used = {measured for name in names if (measured := self._measured_on(self._cells / name)) is not None}
        unsaid = {model_id for model_id, weights in used if not weights}
        return [p for p in kept if (*p.stem.split("."),) not in used and p.stem.partition(".")[0] not in unsaid]

    def weights_of(self, cell_id: str) -> str:
        """Digest of the weights that a finished cell was measured on; empty where its record does not say."""
        measured = self._measured_on(self._record(cell_id, failed=False))
        return "" if measured is None else measured[1]

    def _measured_on(self, record: Path) -> tuple[str, str] | None:
        """The id of a record's model and the digest of the weights, empty where it is not said."""
        row = self._read_record(record)
        return None if row is None else (row.model_id, weights_in(record.read_bytes()))

    def outcomes_path(self, digest: str) -> Path:
        """Where the outcomes with this digest are."""
        return self.root / "outcomes" / f"{digest}.parquet"

    def read_outcomes(self, digest: str) -> dict[str, Array] | None:
        """Per-example columns (N,) by name; None when missing or damaged."""
        return self._read_arrays("outcomes", digest)

    def read_witnesses(self, digest: str) -> Array | None:
        """Adversarial images, float32 (N, ...), bit for bit; None when missing or damaged."""
        arrays = self._read_arrays("witnesses", digest)
        return None if arrays is None else arrays.get(WITNESSES)

    def _record(self, cell_id: str, *, failed: bool) -> Path:
        return self._cells / f"{cell_id}{'.failed' if failed else ''}.json"

    def _read_record(self, path: Path) -> Row | None:
        content = read_bytes(path)
        if content is None:
            return None
        try:
            row = unpack_row(content)
            if _cell_id(path.name) != row.cell_id:
                raise DataError(f"it is the record of cell {row.cell_id}")
            return row
        except NewerRecordError:
            raise
        except BenchbenchError as error:
            self._set_aside(path, error)
            return None

    def _write_arrays(self, kind: str, columns: Mapping[str, object]) -> str:
        arrays = {name: to_array(name, values) for name, values in columns.items()}
        digest = content_digest(arrays)
        if self._read_arrays(kind, digest) is None:
            write_atomically(self.root / kind / f"{digest}.parquet", lambda path: write_arrays(path, arrays))
        return digest

    def _read_arrays(self, kind: str, digest: str) -> dict[str, Array] | None:
        path = self.root / kind / f"{digest}.parquet"
        try:
            return read_arrays(path, digest)
        except StorageError as error:
            self._set_aside(path, error)
            return None

    def _is_whole(self, kind: str, digest: str) -> bool:
        path = self.root / kind / f"{digest}.parquet"
        try:
            return check_footer(path) or path.with_suffix(LEFT_OUT).exists()
        except StorageError as error:
            self._set_aside(path, error)
            return False

    def _set_aside(self, path: Path, error: BenchbenchError) -> None:
        self._on_problem(f"{error.message}; {path.name} set aside as {set_aside(path).name}, to be computed again")


def checkpoint_name(model_id: str) -> str:
    """The name of the file with the weights of a model, in a store's or a submission's folder ``models``."""
    return f"{model_id}.safetensors"


def kept_checkpoints(path: Path) -> list[Path]:
    """Files beside a model's checkpoint with earlier weights of it; see `RunStore.kept_path`."""
    return _kept(path.parent, glob.escape(path.name.removesuffix(checkpoint_name(""))))


def _kept(folder: Path, model_id: str) -> list[Path]:
    found = folder.glob(checkpoint_name(f"{model_id}.*")) if folder.is_dir() else ()
    return sorted(path for path in found if not path.name.endswith(checkpoint_name(_NEXT)))


def _cell_id(record_name: str) -> str:
    return record_name.removesuffix(".json").removesuffix(".failed")


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
