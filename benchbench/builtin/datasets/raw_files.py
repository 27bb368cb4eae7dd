"""Raw files under the data root: checksums, and what to say when one is missing or damaged."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from http.client import HTTPException
from pathlib import Path

from benchbench.contract import CorruptDataError, DataSource, MissingDataError

_BLOCK = 1 << 20


def file_md5(path: Path) -> str:
    """Hexadecimal MD5 of a file, read in blocks. It guards against damage, as the publishers' checksums do."""
    state = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            state.update(block)
    return state.hexdigest()


def require_checksum(path: Path, *, expected: str, got: str) -> None:
    """Compare MD5 checksums.

    Raises:
        CorruptDataError: they differ.
    """
    if got != expected:
        raise CorruptDataError(
            f"{path} is truncated or damaged: expected MD5 {expected}, got {got}",
            hint="delete the file and fetch it again",
        )


def fetch_command(dataset: str, source: DataSource) -> str:
    """The command that brings a dataset."""
    return f"benchbench data fetch {dataset} --data {source.root}"


def missing_files(dataset: str, source: DataSource, lacking: Sequence[Path]) -> MissingDataError:
    """The error for files that are not there; it names the first and counts the rest."""
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    where = "" if source.root.is_dir() else f"; there is no folder {source.root}"
    return MissingDataError(
        f"{dataset}: no file {lacking[0]}{more}{where} (--data or BENCHBENCH_DATA name the data root)",
        fetch=fetch_command(dataset, source),
    )


@contextmanager
def downloading(dataset: str, source: DataSource) -> Iterator[None]:
    """Run torchvision's downloader: its prints are kept off standard output and its failures become one error.

    Raises:
        MissingDataError: no network, no space, a folder that cannot be written, or a file that arrived damaged.
    """
    try:
        with redirect_stdout(io.StringIO()):
            yield
    except (OSError, HTTPException, RuntimeError) as error:
        raise MissingDataError(
            f"{dataset}: the download to {source.root} failed: {error}",
            fetch=f"with a network connection and a writable folder: {fetch_command(dataset, source)}",
        ) from error
