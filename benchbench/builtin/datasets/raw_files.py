"""Raw files in the data root: checksums, downloads, errors about missing or damaged files."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from http.client import HTTPException
from pathlib import Path

from benchbench.contract import CorruptDataError, DataSource, MissingDataError


def file_md5(path: Path) -> str:
    """Hexadecimal MD5 of a file, read in blocks; like publishers' checksums, against damage."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def require_checksum(path: Path, *, expected: str, got: str) -> None:
    """Raise a CorruptDataError if two MD5 checksums of a file differ."""
    if got != expected:
        raise CorruptDataError(
            f"{path} is truncated or damaged: expected MD5 {expected}, got {got}",
            hint="delete the file and fetch it again",
        )


def require_files(
    dataset: str,
    source: DataSource,
    lacking: Callable[[DataSource], Sequence[Path]],
    download: Callable[[], object] | None = None,
) -> None:
    """Check that a dataset's files are there; download missing ones if the source allows it.

    `lacking` lists the missing files; without `download`, torchvision's downloader, nothing is fetched. If files still lack, or
    the download failed, this is a MissingDataError.
    """
    if download is not None and source.download and lacking(source):
        _download(dataset, source, download)
    if absent := lacking(source):
        raise missing_files(dataset, source, absent)


def missing_files(dataset: str, source: DataSource, lacking: Sequence[Path]) -> MissingDataError:
    """The error for missing files; it names the first and counts the rest."""
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    where = "" if source.root.is_dir() else f"; there is no folder {source.root}"
    return MissingDataError(
        f"{dataset}: no file {lacking[0]}{more}{where} (--data or BENCHBENCH_DATA name the data root)",
        fetch=_fetch_command(dataset, source),
    )


def _fetch_command(dataset: str, source: DataSource) -> str:
    return f"benchbench data fetch {dataset} --data {source.root}"


def _download(dataset: str, source: DataSource, download: Callable[[], object]) -> None:
    """Keep the downloader's prints off standard output, and turn its failures into one error."""
    try:
        with redirect_stdout(io.StringIO()):
            download()
    except (OSError, HTTPException, RuntimeError) as error:
        raise MissingDataError(
            f"{dataset}: the download to {source.root} failed: {error}",
            fetch=f"with a network connection and a writable folder: {_fetch_command(dataset, source)}",
        ) from error
