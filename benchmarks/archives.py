"""Fill archives within limits and unpack them, by the standard library alone to start fast.

python -m benchmarks.archives FOLDER [FOLDER ...] --runs RUNS        unpacks what ``benchmarks.packs`` packed
"""

from __future__ import annotations

import argparse
import calendar
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

MIB = 2**20
ARCHIVE = re.compile(r"(rows|models|unfinished|witnesses)-\d+\.zip")
MEMBER = re.compile(r"([\w.-]+\.parquet|(cells|outcomes|witnesses|models)/[\w.-]+)", re.ASCII)
_PER_FILE = 22  # bytes of a zip file besides its members, and of each of them besides its content and, twice, its name
_PER_MEMBER = 76


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much may come back.

    Attributes:
        files: archives at most.
        file_bytes: of each.
        total_bytes: of all together.
    """

    files: int
    file_bytes: int
    total_bytes: int


@dataclass(frozen=True, kw_only=True)
class Item:
    """A file to pack.

    Attributes:
        kind: of the archives that it belongs to.
        name: in them, and below the runs folder.
        path: where it is; None for an empty one.
    """

    kind: str
    name: str
    path: Path | None

    @property
    def size(self) -> int:
        """Bytes that it takes in an archive."""
        return (self.path.stat().st_size if self.path else 0) + _PER_MEMBER + 2 * len(self.name)


@dataclass(kw_only=True)
class Archive:
    """An archive that is being filled."""

    name: str
    kind: str
    items: list[Item] = field(default_factory=list)
    size: int = _PER_FILE


def arrange(items: Sequence[Item], limits: Limits) -> tuple[list[Archive], list[Item]]:
    """Return archives filled in the items' order, one kind each, and the items that do not fit."""
    archives: list[Archive] = []
    left: list[Item] = []
    for item in items:
        archive = _room(archives, item, limits)
        if archive is None:
            left.append(item)
        else:
            archive.items.append(item)
            archive.size += item.size
    return archives, left


def _room(archives: list[Archive], item: Item, limits: Limits) -> Archive | None:
    """An archive that has room for an item, a new one if need be; None where there is none."""
    used = sum(archive.size for archive in archives)
    alike = [archive for archive in archives if archive.kind == item.kind]
    if used + item.size <= limits.total_bytes:
        for archive in alike:
            if archive.size + item.size <= limits.file_bytes:
                return archive
    fits = used + _PER_FILE + item.size <= limits.total_bytes and _PER_FILE + item.size <= limits.file_bytes
    if len(archives) == limits.files or not fits:
        return None
    archives.append(Archive(name=f"{item.kind}-{len(alike) + 1}.zip", kind=item.kind))
    return archives[-1]


def write(archives: Sequence[Archive], out: Path) -> None:
    """Write the archives into a folder, in the place of those that are there."""
    with tempfile.TemporaryDirectory() as scratch:
        for archive in archives:
            with zipfile.ZipFile(Path(scratch, archive.name), "w", zipfile.ZIP_STORED) as target:
                for item in archive.items:
                    changed = time.gmtime(item.path.stat().st_mtime) if item.path else time.gmtime()
                    target.writestr(
                        zipfile.ZipInfo(item.name, changed[:6]), item.path.read_bytes() if item.path else b""
                    )
        for path in out.iterdir():
            if ARCHIVE.fullmatch(path.name):
                path.unlink()
        for archive in archives:
            shutil.move(Path(scratch, archive.name), out / archive.name)


def unpack(folders: Sequence[Path], runs: Path) -> list[str]:
    """Unpack the archives of some folders into a runs folder; newer files that are there stay.

    Returns:
        The names of the files written.
    """
    written = []
    paths = [path for folder in folders for path in sorted(folder.glob("*.zip")) if ARCHIVE.fullmatch(path.name)]
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                target, changed = runs / info.filename, calendar.timegm((*info.date_time, 0, 0, 0))
                if not MEMBER.fullmatch(info.filename) or (target.exists() and target.stat().st_mtime >= changed):
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(info))
                os.utime(target, (changed, changed))
                written.append(info.filename)
    return written


def main(arguments: list[str] | None = None) -> None:
    """Unpack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--runs", required=True, type=Path)
    options = parser.parse_args(arguments)
    print(f"{len(unpack(options.folders, options.runs))} files unpacked into {options.runs}")


if __name__ == "__main__":
    main()
