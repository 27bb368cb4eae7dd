"""Arrays in Parquet files, named and checked by the SHA-256 of their values.

Adversarial images are a dictionary-encoded float32 column under zstd: most of their pixels are at x +- epsilon or at the edge
of the box, so few different numbers occur. On PGD-10 images of MNIST this takes 29% of the raw size (plain zstd 28%,
byte-stream split 38%); on images of CIFAR-10's shape with every pixel at a corner of the ball, 28% (58% and 79%).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchbench.errors import CorruptDataError, DataError, StorageError
from benchbench.records.disk import read_bytes
from benchbench.records.parquet import read_parquet

Array = np.ndarray[Any, np.dtype[Any]]

_HEADER = b"benchbench.arrays"
_NUMBERS = "biuf"  # kinds of NumPy types
_DICTIONARY_BYTES = 8 * 2**20
_EXAMPLES_PER_GROUP = 1024


def to_array(name: str, values: object) -> Array:
    """Convert numbers (a tensor, array or sequence) to a little-endian, contiguous array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    if array.dtype.kind not in _NUMBERS:
        raise DataError(f"column {name!r}: expected numbers, got {array.dtype}")
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def content_digest(arrays: Mapping[str, Array]) -> str:
    """SHA-256 over the names, types, shapes and values of arrays, independent of their order."""
    content = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        content.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        content.update(array.reshape(-1).view(np.uint8).data)
    return content.hexdigest()


def write_arrays(path: Path, arrays: Mapping[str, Array], about: Mapping[bytes, bytes] = MappingProxyType({})) -> None:
    """Write arrays of equal length, and facts `about` them; equal content gives equal bytes."""
    arrays = dict(sorted(arrays.items()))  # a resumed evaluation gives its parts in another order
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"per-example columns differ in length: {lengths}")
    header = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
    table = pa.table({name: _to_column(array) for name, array in arrays.items()})
    pq.write_table(
        table.replace_schema_metadata({_HEADER: json.dumps(header).encode(), **about}),
        path,
        compression="zstd",
        dictionary_pagesize_limit=_DICTIONARY_BYTES,
        row_group_size=_EXAMPLES_PER_GROUP if any(array.ndim > 1 for array in arrays.values()) else None,
        write_page_checksum=True,
    )


def read_arrays(path: Path, digest: str) -> dict[str, Array] | None:
    """Read arrays and check their digest (`StorageError`); None if the file does not exist."""
    arrays = read_unchecked_arrays(path)
    if arrays is not None and content_digest(arrays) != digest:
        raise StorageError(f"{path} is damaged: its content does not match its digest")
    return arrays


def is_intact(path: Path, digest: str) -> bool:
    """Whether a file exists and holds the arrays with this digest."""
    try:
        return read_arrays(path, digest) is not None
    except StorageError:
        return False


def check_footer(path: Path) -> bool:
    """Whether the file exists; `StorageError` if its footer is damaged. Its content is not read."""
    try:
        pq.read_metadata(path)
    except FileNotFoundError:
        return False
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StorageError(f"{path} is damaged: {error}") from error
    return True


def read_unchecked_arrays(path: Path) -> dict[str, Array] | None:
    """Read arrays without checking their digest; otherwise as `read_arrays`."""
    content = read_bytes(path)
    if content is None:
        return None
    try:
        table = read_parquet(content, str(path))
        header = json.loads((table.schema.metadata or {})[_HEADER])
        return {name: _from_column(table[name], *header[name]) for name in table.column_names}
    except CorruptDataError as error:
        raise StorageError(error.message) from error
    except (pa.ArrowException, KeyError, TypeError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise StorageError(f"{path} is damaged: {error}") from error


def read_images(path: Path, shape: Sequence[int]) -> tuple[Array, Array]:
    """Read the columns ``index`` and ``image`` of any Parquet file; other columns are ignored.

    Args:
        path: a file whose column ``image`` holds, per row, a list of the image's numbers, nested or flat.
        shape: of one image.

    Returns:
        int64 (n,) and float32 (n, *shape).

    Raises:
        StorageError: there is no such file, or it is damaged.
        DataError: its columns are no indices and images of this shape.
    """
    content = read_bytes(path)
    if content is None:
        raise StorageError(f"there is no file {path}")
    table = read_parquet(content, str(path))
    expected = (
        f"{path}: expected the columns 'index' (integers) and 'image' ({'x'.join(map(str, shape))} numbers a row)"
    )
    once = all(table.column_names.count(name) == 1 for name in ("index", "image"))
    if not once or not pa.types.is_integer(table["index"].type) or table["index"].null_count:
        raise DataError(f"{expected}, got {', '.join(map(repr, table.column_names)) or 'none'}")
    numbers, even = table["image"].combine_chunks(), True
    while (
        pa.types.is_list(numbers.type)
        or pa.types.is_large_list(numbers.type)
        or pa.types.is_fixed_size_list(numbers.type)
    ):
        even &= pc.count_distinct(pc.list_value_length(numbers), mode="all").as_py() <= 1
        numbers = numbers.flatten()
    if (
        not even
        or not pa.types.is_floating(numbers.type)
        or len(numbers) != table.num_rows * math.prod(shape)
        or numbers.null_count
    ):
        raise DataError(f"{expected}, got {len(numbers):,} values of type {numbers.type} in {table.num_rows:,} rows")
    index = np.asarray(table["index"].to_numpy(), dtype=np.int64)
    return index, np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(-1, *shape)


def _to_column(array: Array) -> pa.Array:
    flat = pa.array(array.reshape(-1))
    width = int(np.prod(array.shape[1:], dtype=np.int64))
    return flat if array.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, width)


def _from_column(column: pa.ChunkedArray, dtype: str, shape: list[int]) -> Array:
    if np.dtype(dtype).kind not in _NUMBERS:
        raise ValueError(f"{dtype!r} is no type of numbers")
    chunks = [chunk.flatten() if pa.types.is_fixed_size_list(chunk.type) else chunk for chunk in column.chunks]
    parts = [np.asarray(chunk.to_numpy(zero_copy_only=False)) for chunk in chunks]
    array = np.concatenate(parts) if parts else np.empty(0)
    return array.astype(np.dtype(dtype), copy=False).reshape(shape)
