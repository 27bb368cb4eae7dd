"""The file of a cell record: JSON with the row, its digest and that of the weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re

from benchbench.cell.model import Columns
from benchbench.errors import DataError, StorageError
from benchbench.records.row import Row
from benchbench.records.schema import completed

_FORMAT = 1
_MOST_BYTES = 16 * 2**20  # of a record; 10 KiB are usual
_WEIGHTS = "weights"
_FILE = re.compile(rb'\{"format": 1, "row": (.*), "sha256": "([0-9a-f]{64})"(?:, "weights": "[0-9a-f]*")?\}')
_COLUMNS = {field.name for field in dataclasses.fields(Row)}


def pack_row(row: Row, weights: str) -> bytes:
    """The content of a record file; `weights` is empty if it is unknown."""
    content = _canonical_row(dataclasses.asdict(row))
    envelope = {"format": _FORMAT, "sha256": _digest(content), "row": json.loads(content)}
    envelope |= {_WEIGHTS: weights} if weights else {}
    return json.dumps(envelope, sort_keys=True).encode()


def _canonical_row(columns: Columns) -> bytes:
    return json.dumps(columns, sort_keys=True).encode()


def text_of_row(content: bytes) -> bytes | None:
    """The row in a file as `pack_row` writes it, in canonical JSON; None for another file."""
    found = _FILE.fullmatch(content) if len(content) <= _MOST_BYTES else None
    return found[1] if found is not None and _digest(found[1]) == found[2].decode() else None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def weights_in(content: bytes) -> str:
    """The digest of weights in a record file; empty if it has none."""
    return str(json.loads(content).get(_WEIGHTS, ""))


class NewerRecordError(StorageError):
    """A record of a newer version of benchbench, which must not be changed."""


def unpack_row(content: bytes) -> Row:
    """The row of a record file; `NewerRecordError` for unknown columns, `DataError` for damage."""
    try:
        if len(content) > _MOST_BYTES:
            raise DataError(f"a cell record is larger than {_MOST_BYTES / 2**20:.0f} MiB")
        envelope = json.loads(content)
        columns = envelope["row"]
        if envelope["format"] != _FORMAT or _digest(_canonical_row(columns)) != envelope["sha256"]:
            raise DataError("a cell record does not match its digest")
        if unknown := sorted(columns.keys() - _COLUMNS):
            raise NewerRecordError(
                f"a newer version of benchbench recorded cell {columns.get('cell_id')}: it has {', '.join(unknown)}",
                hint="install that version, or use another runs folder",
            )
        return Row(**completed(columns))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"a cell record is damaged: {error}") from error
