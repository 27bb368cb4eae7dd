"""The Parquet files of a folder by split, and those that are left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchbench.builtin.datasets.folders import listed
from benchbench.contract import MissingDataError

_NUMBERED = re.compile(r"-of-(\d+)\Z")


@dataclass(frozen=True, kw_only=True)
class Shards:
    """One split's files, at least one, sorted by name; `name` is the beginning of their names."""

    name: str
    paths: tuple[Path, ...]


def find_shards(folder: Path, names: Sequence[str]) -> tuple[Shards, ...]:
    """The existing splits, ``NAME-*.parquet`` or ``NAME.parquet``, else MissingDataError."""
    there = {name: sorted(folder.glob(f"{name}-*.parquet")) or sorted(folder.glob(f"{name}.parquet")) for name in names}
    if not any(there.values()):
        raise MissingDataError(
            f"parquet-images: {folder} has no {names[0]}-*.parquet", fetch=f"put the files of both splits into {folder}"
        )
    return tuple(Shards(name=name, paths=tuple(paths)) for name, paths in there.items() if paths)


def shard_notes(folder: Path, splits: Iterable[Shards]) -> tuple[str, ...]:
    """Notes on Parquet files that are not read, and on those missing by the others' numbering."""
    read = {path for split in splits for path in split.paths}
    unread = sorted(path.name for path in folder.iterdir() if path.suffix.lower() == ".parquet" and path not in read)
    notes = [f"{folder}: {note}" for split in splits for note in _incomplete(split)]
    if unread:
        names = " and ".join(split.name for split in splits)
        notes.append(f"{folder}: not read: {listed(unread)}; the splits are {names}")
    return tuple(notes)


def _incomplete(split: Shards) -> list[str]:
    numbers = [found.group(1) for path in split.paths if (found := _NUMBERED.search(path.stem))]
    wanted = max((int(number) for number in numbers), default=0)
    if len(numbers) >= wanted:
        return []
    return [f"{len(numbers)} of the {wanted:,} files of {split.name} are here: the others' images are left out"]
