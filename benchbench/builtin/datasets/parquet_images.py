"""Images in Parquet files, as Hugging Face's datasets store them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchbench.builtin.datasets.array_cache import cache_key, cached_array
from benchbench.builtin.datasets.folders import resolve_folder
from benchbench.builtin.datasets.pixels import ImageFile, PixelFormat, decode_stack
from benchbench.contract import CorruptDataError, DataError, DatasetSplits, DataSource, Examples, MissingDataError

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")
_SPLITS = {"train": ("train",), "test": ("test", "validation", "val")}


class ParquetImages:
    """Encoded images and labels in ``<path>/train-*.parquet`` and ``<path>/test-*.parquet``, uint8 (N, C, H, W).

    The image column holds a struct with ``bytes``, or the bytes themselves; the label column holds integers. Class
    names come from the schema's Hugging Face metadata where it has them. Decoded pixels are kept in the cache.

    Args:
        path: the folder of the Parquet files, absolute or below the data root.
        image_column: name of the image column; ``"auto"`` takes ``image`` or ``img``.
        label_column: name of the label column; ``"auto"`` takes ``label``, ``labels`` or ``fine_label``.
        size: resize the shorter side to this and crop the centre; without it, all images must have one size.
        grayscale: one channel instead of three.

    Raises:
        OptionError: `size` is below 1.
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
        """Read both splits.

        Raises:
            MissingDataError: the folder or the files of a split are not there.
            CorruptDataError: a Parquet file or an image is truncated or damaged.
            DataError: a column is missing or of another type, a value is null, or images differ in size.
        """
        train, test = self._read_split(source, "train"), self._read_split(source, "test")
        if train.classes and test.classes and train.classes != test.classes:
            raise DataError(f"parquet-images: the splits in {self.path} name different classes")
        names = train.classes or test.classes or _numbered_classes(train.examples, test.examples)
        return DatasetSplits(train=train.examples, test=test.examples, classes=names)

    def locate(self, source: DataSource) -> None:
        """Check that the files are there, without reading them.

        Raises:
            MissingDataError: the folder or the files of a split are not there.
        """
        self._shards(source, "train")
        self._shards(source, "test")

    def _shards(self, source: DataSource, split: Literal["train", "test"]) -> list[Path]:
        folder = resolve_folder("parquet-images", self.path, source)
        for prefix in _SPLITS[split]:
            if shards := sorted(folder.glob(f"{prefix}-*.parquet")) or sorted(folder.glob(f"{prefix}.parquet")):
                return shards
        raise MissingDataError(
            f"parquet-images: {folder} has no {split}-*.parquet", fetch=f"put the files of both splits into {folder}"
        )

    def _read_split(self, source: DataSource, split: Literal["train", "test"]) -> _Split:
        import numpy as np
        import PIL
        import torch

        shards = self._shards(source, split)
        tables = [self._read_shard(shard) for shard in shards]
        files = [file for table in tables for file in table.files]
        key = cache_key(shards, self.image_column, self.pixel_format, PIL.__version__)
        images = cached_array(
            source.cache / "parquet-images" / f"{key}.npy", lambda: decode_stack(files, self.pixel_format)
        )
        labels = np.concatenate([table.labels for table in tables])
        examples = Examples(inputs=torch.from_numpy(images), labels=torch.from_numpy(labels))
        return _Split(examples=examples, classes=tables[0].classes)

    def _read_shard(self, shard: Path) -> _Shard:
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            schema = pq.read_schema(shard)
            image_column = _choose_column(shard, schema.names, self.image_column, _IMAGE_COLUMNS)
            label_column = _choose_column(shard, schema.names, self.label_column, _LABEL_COLUMNS)
            table = pq.read_table(shard, columns=[image_column, label_column], partitioning=None)
        except (pa.ArrowException, OSError) as error:
            raise CorruptDataError(f"{shard} is truncated or no Parquet file: {error}") from error
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
    labels: Any
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Split:
    examples: Examples
    classes: tuple[str, ...]


def _choose_column(shard: Path, there: Sequence[str], wanted: str, usual: Sequence[str]) -> str:
    names = usual if wanted == "auto" else (wanted,)
    for name in names:
        if name in there:
            return name
    raise DataError(f"{shard}: no column {' or '.join(names)}", hint=f"its columns: {', '.join(there)}")


def _image_files(shard: Path, column: Any, name: str) -> list[ImageFile]:
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
    """Class names from the ``huggingface`` entry of the schema's metadata; empty when it has none."""
    try:
        described = json.loads((metadata or {})[b"huggingface"])
        names = described["info"]["features"][label_column]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def _numbered_classes(*splits: Examples) -> tuple[str, ...]:
    highest = max((int(examples.labels.max()) for examples in splits if len(examples)), default=-1)
    return tuple(str(label) for label in range(highest + 1))
