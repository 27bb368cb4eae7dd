"""Images in Parquet files, as Hugging Face's datasets store them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.builtin.datasets.array_cache import cache_key, cached_array, cached_text
from benchbench.builtin.datasets.folders import lacking_note, listed, resolve_folder
from benchbench.builtin.datasets.pixels import ImageFile, PixelFormat, Remarks, decode_stack
from benchbench.builtin.datasets.shards import Shards, find_shards, shard_notes
from benchbench.contract import CorruptDataError, DataError, DatasetSplits, DataSource, Examples

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")
LEAST_LIMIT, MOST_GROWTH = 512 * 2**20, 10  # bytes and times its size that a file may unpack to: images are compressed
ROWS_AT_ONCE = 64
_TRAIN = ("train",)
_TEST = ("test", "validation", "valid", "val")


class ParquetImages:
    """Encoded images and labels in ``<path>/{train,test}-*.parquet``, uint8 (N, C, H, W).

    The image column holds a struct with ``bytes``, or the bytes themselves; the label column holds integers. Class names
    come from the Hugging Face metadata of the schema; without them, the sorted training labels are the classes. If ``test``
    is missing or its labels are hidden, ``validation``, ``valid`` or ``val`` takes its place. EXIF rotations are applied.
    The notes count and name what is left out. The cache keeps the decoded pixels.

    Args:
        path: the folder of the Parquet files, absolute or below the data root.
        image_column: name of the image column; ``"auto"`` takes ``image`` or ``img``.
        label_column: name of the label column; ``"auto"`` takes ``label``, ``labels`` or ``fine_label``.
        size: resize the shorter side to this and crop the centre; without it, all images must have one size.
        grayscale: one channel instead of three.
    """

    def __init__(
        self,
        *,
        path: str,
        image_column: str = "auto",
        label_column: str = "auto",
        size: int | None = None,
        grayscale: bool = False,
    ) -> None:
        self.path = path
        self.image_column = image_column
        self.label_column = label_column
        self.pixel_format = PixelFormat(shorter_side=size, crop=size, grayscale=grayscale)

    def load(self, source: DataSource) -> DatasetSplits:
        """Read both splits; a DataError for columns, labels or sizes that do not fit."""
        folder = resolve_folder("parquet-images", self.path, source)
        (train_shards,) = find_shards(folder, _TRAIN)
        train = self._read_split(source, train_shards)
        test_shards, hidden = self._choose_test(find_shards(folder, _TEST))
        test = self._read_split(source, test_shards)
        if train.classes and test.classes and train.classes != test.classes:
            raise DataError(f"parquet-images: the splits in {self.path} name different classes")
        notes = (*shard_notes(folder, (train_shards, test_shards)), *hidden, *train.notes, *test.notes)
        names = train.classes or test.classes
        if not names:
            names, train, test = _number_classes(train, test)
        return DatasetSplits(
            train=train.examples,
            test=test.examples,
            classes=names,
            notes=(
                *notes,
                *_lacking(f"{folder}: {train_shards.name}", train, names),
                *_lacking(f"{folder}: {test_shards.name}", test, names),
            ),
        )

    def locate(self, source: DataSource) -> None:
        """Raise a MissingDataError if the folder or a split's files are missing; reads no file."""
        folder = resolve_folder("parquet-images", self.path, source)
        find_shards(folder, _TRAIN)
        find_shards(folder, _TEST)

    def _choose_test(self, candidates: Sequence[Shards]) -> tuple[Shards, list[str]]:
        """The first split whose labels are known, and a note for each before it."""
        notes: list[str] = []
        for split in candidates:
            if not self._labels_are_hidden(split):
                return split, notes
            notes.append(f"{split.paths[0].parent}: the labels of {split.name} are hidden (-1, null or no column)")
        raise DataError("; ".join(notes), hint="add validation-*.parquet with labels")

    def _labels_are_hidden(self, split: Shards) -> bool:
        """Whether no test example has a label: no label column, or only null and negative numbers."""
        import pyarrow.compute as pc

        for shard in split.paths:
            names = _read_schema(shard).names
            column = next((name for name in self._label_columns if name in names), None)
            if column is not None:
                highest = pc.max(_read_columns(shard, [column]).column(column)).as_py()
                if highest is not None and not (isinstance(highest, int) and highest < 0):
                    return False
        return True

    @property
    def _label_columns(self) -> Sequence[str]:
        return _LABEL_COLUMNS if self.label_column == "auto" else (self.label_column,)

    def _read_split(self, source: DataSource, split: Shards) -> _Split:
        import numpy as np
        import PIL
        import torch

        shards = [self._read_shard(shard) for shard in split.paths]
        if len({shard.classes for shard in shards}) > 1:
            raise DataError(f"parquet-images: the files of {split.name} in {self.path} name different classes")
        files = [file for shard in shards for file in shard.files]
        key = cache_key(split.paths, self.image_column, self.pixel_format, PIL.__version__)
        cached, remarks = source.cache / "parquet-images" / f"{key}.npy", Remarks()
        images = cached_array(cached, lambda: decode_stack(files, self.pixel_format, remarks))
        said = cached_text(cached.with_suffix(".notes"), "\n".join(remarks.notes(split.paths[0].parent)))
        labels = np.concatenate([shard.labels for shard in shards])
        examples = Examples(inputs=torch.from_numpy(images), labels=torch.from_numpy(labels))
        return _Split(examples=examples, classes=shards[0].classes, notes=tuple(said.splitlines()))

    def _read_shard(self, shard: Path) -> _Shard:
        import numpy as np
        import pyarrow as pa

        schema = _read_schema(shard)
        image_column = _choose_column(
            shard, schema.names, _IMAGE_COLUMNS if self.image_column == "auto" else (self.image_column,)
        )
        label_column = _choose_column(shard, schema.names, self._label_columns)
        table = _read_columns(shard, [image_column, label_column])
        labels = table.column(label_column)
        if labels.null_count or not pa.types.is_integer(labels.type):
            raise DataError(f"{shard}: column {label_column!r} must hold integers without nulls, got {labels.type}")
        return _Shard(
            files=_image_files(shard, table.column(image_column), image_column),
            labels=labels.to_numpy().astype(np.int64),
            classes=_class_names(schema.metadata, label_column),
        )


@dataclass(frozen=True, kw_only=True)
class _Shard:
    files: list[ImageFile]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Split:
    examples: Examples
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def _read_schema(shard: Path) -> pa.Schema:
    import pyarrow.parquet as pq

    with _reading(shard):
        return pq.read_schema(shard)


def _read_columns(shard: Path, columns: list[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    batches, left = [], max(LEAST_LIMIT, MOST_GROWTH * shard.stat().st_size)
    with _reading(shard), pq.ParquetFile(shard) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns):
            batches.append(batch)
            left -= batch.nbytes
            if left < 0:
                raise CorruptDataError(f"{shard} unpacks to more than {MOST_GROWTH} times its size")
        schema = batches[0].schema if batches else file.schema_arrow
    return pa.Table.from_batches(batches, schema)


@contextmanager
def _reading(shard: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise CorruptDataError(f"{shard} is truncated or no Parquet file: {error}") from error


def _choose_column(shard: Path, there: Sequence[str], names: Sequence[str]) -> str:
    for name in names:
        if name in there:
            return name
    raise DataError(f"{shard}: no column {' or '.join(names)}", hint=f"its columns: {', '.join(there)}")


def _image_files(shard: Path, column: pa.ChunkedArray, name: str) -> list[ImageFile]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        column = pc.struct_field(column, "bytes")
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise DataError(f"{shard}: column {name!r} must hold encoded images or a struct with bytes, got {column.type}")
    if column.null_count:
        raise DataError(f"{shard}: {column.null_count} rows of column {name!r} hold no image bytes")
    return [ImageFile(name=f"{shard} row {row}", content=content) for row, content in enumerate(column.to_pylist())]


def _class_names(metadata: dict[bytes, bytes] | None, label_column: str) -> tuple[str, ...]:
    """Class names from the schema's ``huggingface`` metadata; empty if there are none."""
    try:
        described = json.loads((metadata or {})[b"huggingface"])
        names = described["info"]["features"][label_column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def _number_classes(train: _Split, test: _Split) -> tuple[tuple[str, ...], _Split, _Split]:
    """Without names, the sorted labels that occur in training are the classes, numbered from 0."""
    import torch

    occurring = torch.unique(train.examples.labels)
    if int(occurring[0]) < 0:
        raise DataError(
            f"parquet-images: train has labels below 0: {int(occurring[0])}", hint="negative labels are hidden ones"
        )
    unknown = sorted(set(test.examples.labels.tolist()) - set(occurring.tolist()))
    if unknown:
        raise DataError(f"parquet-images: test labels that training lacks: {listed([str(label) for label in unknown])}")
    train, test = (
        dataclasses.replace(
            split,
            examples=dataclasses.replace(split.examples, labels=torch.searchsorted(occurring, split.examples.labels)),
        )
        for split in (train, test)
    )
    return tuple(str(label) for label in occurring.tolist()), train, test


def _lacking(place: str, split: _Split, names: Sequence[str]) -> tuple[str, ...]:
    there = set(split.examples.labels.tolist())
    return lacking_note(place, [name for label, name in enumerate(names) if label not in there], len(names))
