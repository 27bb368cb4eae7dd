"""Submissions: rows and their evidence in one zip file; equal content gives equal bytes.

manifest.json                     format, suite, and SHA-256 of every other file; of checkpoints even where left out
leaderboard.parquet               the rows, with their configurations
outcomes/<digest>.parquet         per-example outcomes
witnesses/<digest>.parquet        adversarial images
models/<model id>.safetensors     checkpoints, on request
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from benchbench.atomic import write_atomically
from benchbench.errors import BenchbenchError, CorruptDataError, DataError, StorageError, first
from benchbench.leaderboard.files import write_leaderboard
from benchbench.records import Row, checkpoint_name, kept_checkpoints

FORMAT = 1
MANIFEST, LEADERBOARD = "manifest.json", "leaderboard.parquet"
LARGEST = 64 * 2**20  # bytes that any submission may unpack to
MOST_GROWTH = 10  # times its size that a larger one may: a small file must not fill the disk
MOST_FILES = 20_000  # outcomes, witnesses and weights of 6,000 models
_LARGEST_TABLE = 8 * 2**20  # bytes of a submission's table of contents, and of its manifest
_NAMES = re.compile(
    r"leaderboard\.parquet|(outcomes|witnesses)/[0-9a-f]{64}\.parquet|models/[A-Za-z0-9._-]{1,128}\.safetensors"
)
_DATE = (1980, 1, 1, 0, 0, 0)
_BLOCK = 2**20


@dataclass(frozen=True, kw_only=True)
class Submission:
    """An unpacked submission."""

    folder: Path  # run store and leaderboard folder in one
    suite: str
    weights: dict[str, str]  # SHA-256 of the checkpoint file by model id
    problems: tuple[str, ...] = ()  # the first of the files that are missing, unexpected, or not those of the manifest


def pack(
    rows: Sequence[Row], find: Callable[[str, str], Path | None], out: Path, *, scratch: Path, weights: bool = False
) -> list[str]:
    """Write a submission of a suite's finished, measured rows; return the names of files packed.

    `find` returns the path of a file by kind (``outcomes``, ``witnesses``, ``models``) and name, or None; `scratch` is an empty
    folder. With `weights` the checkpoints themselves are packed, not only their digests. No row, or missing evidence: a
    DataError.
    """
    chosen = [row for row in rows if row.source == "measured" and row.status == "ok"]
    if not chosen:
        raise DataError("there is no finished, measured row to pack")
    found, missing = _gather(chosen, find)
    if missing:
        raise DataError(
            f"the evidence of some rows is not here: {', '.join(first(missing))}",
            hint="--runs names the folder of the run that measured them",
        )
    write_leaderboard(scratch / LEADERBOARD, chosen)
    found[LEADERBOARD] = scratch / LEADERBOARD
    digests = {name: _sha256(path) for name, path in sorted(found.items())}
    packed = {name: path for name, path in found.items() if weights or not name.startswith("models/")}
    manifest: _Manifest = {
        "format": FORMAT,
        "suite": chosen[0].suite,
        "files": {name: digests[name] for name in sorted(packed)},
        "weights": {Path(name).stem: digest for name, digest in digests.items() if name.startswith("models/")},
    }
    write_atomically(out, lambda path: _write(path, manifest, packed))
    return [MANIFEST, *sorted(packed)]


def unpack(path: Path, folder: Path) -> Submission:
    """Unpack and check a submission; StorageError if of another format, CorruptDataError if bad."""
    if not path.is_file():
        raise StorageError(f"there is no submission {path}", hint="benchbench leaderboard pack writes one")
    try:
        with _BoundedFile(path) as file, zipfile.ZipFile(file) as archive:
            manifest = _read_manifest(archive, path)
            problems = _extract(archive, manifest["files"], folder)
    except BenchbenchError:
        raise
    except Exception as error:  # a damaged archive makes zipfile raise anything: OSError, zlib.error, struct.error, ...
        raise CorruptDataError(f"{path} is no submission, or damaged: {' '.join(str(error).split())[:200]}") from error
    suite, weights = manifest["suite"], dict(manifest["weights"])
    return Submission(folder=folder, suite=suite, weights=weights, problems=tuple(first(problems)))


def weight_problems(submission: Submission, rows: Sequence[Row], find: Callable[[str, str], Path | None]) -> list[str]:
    """A problem per checkpoint from `find` (as for `pack`) that differs from the manifest's."""
    problems = []
    for model_id in sorted({row.model_id for row in rows}):
        path, stated = find("models", checkpoint_name(model_id)), submission.weights.get(model_id)
        if stated is not None and path is not None and _sha256(path) != stated:
            problems.append(f"the checkpoint of model {model_id} is not the one that was packed")
    return problems


def strangers(submission: Submission, rows: Sequence[Row]) -> list[str]:
    """A problem per unpacked file that no row names: weights of other models refute their rows."""
    folder = submission.folder
    weights = (folder / "models" / checkpoint_name(model_id) for model_id in {row.model_id for row in rows})
    named = {file for path in weights for file in (path, *kept_checkpoints(path))}
    for kind in ("outcomes", "witnesses"):
        named |= {folder / kind / f"{getattr(row, f'{kind}_digest')}.parquet" for row in rows}
    return [f"{file.relative_to(folder)} belongs to no row" for file in sorted({*folder.glob("*/*")} - named)]


def _gather(rows: Sequence[Row], find: Callable[[str, str], Path | None]) -> tuple[dict[str, Path], list[str]]:
    found: dict[str, Path] = {}
    missing = []
    for kind in ("outcomes", "witnesses"):
        for digest in sorted({getattr(row, f"{kind}_digest") for row in rows}):
            path = find(kind, f"{digest}.parquet") if digest else None
            if path is None:
                missing.append(f"{kind}/{digest or '(none kept)'}")
            else:
                found[f"{kind}/{digest}.parquet"] = path
    for model_id in sorted({row.model_id for row in rows}):  # fitted models have no checkpoint: they are refitted
        path = find("models", checkpoint_name(model_id))
        for each in [] if path is None else [path, *kept_checkpoints(path)]:
            found[f"models/{each.name}"] = each
    return found, missing


class _BoundedFile(io.FileIO):
    """A file of which `zipfile` cannot read an absurd table of contents: it reads that at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LARGEST_TABLE:
            raise ValueError(f"its table of contents is larger than {_LARGEST_TABLE / 2**20:.0f} MiB")
        return super().read(size) or b""


class _Manifest(TypedDict):
    """Digests of the packed files and of the models' weights."""

    format: int
    suite: str
    files: dict[str, str]
    weights: dict[str, str]


def _write(path: Path, manifest: _Manifest, files: dict[str, Path]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr(zipfile.ZipInfo(MANIFEST, _DATE), json.dumps(manifest, indent=1, sort_keys=True))
        for name in sorted(files):
            with files[name].open("rb") as source, archive.open(zipfile.ZipInfo(name, _DATE), "w") as target:
                shutil.copyfileobj(source, target, _BLOCK)


def _read_manifest(archive: zipfile.ZipFile, path: Path) -> _Manifest:
    names = archive.namelist()
    if len(names) > MOST_FILES:
        raise ValueError(f"it has {len(names):,} files, more than {MOST_FILES:,}")
    if MANIFEST not in names or archive.getinfo(MANIFEST).file_size > _LARGEST_TABLE:
        raise ValueError(f"it has no manifest, or one of more than {_LARGEST_TABLE / 2**20:.0f} MiB")
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in archive.infolist()):
        raise ValueError("it is compressed by another method than deflate")
    limit = max(LARGEST, MOST_GROWTH * path.stat().st_size)
    if sum(info.file_size for info in archive.infolist()) > limit:
        raise ValueError(f"it unpacks to more than {limit / 2**20:,.0f} MiB")
    manifest = json.loads(archive.read(MANIFEST))
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if version != FORMAT:
        raise StorageError(
            f"{path} has format {version!r}; this benchbench reads {FORMAT}", hint="install the version that wrote it"
        )
    digests = [manifest.get("files"), manifest.get("weights")]
    valid = all(isinstance(d, dict) and all(isinstance(text, str) for text in d.values()) for d in digests)
    if not isinstance(manifest.get("suite"), str) or not valid:
        raise ValueError("its manifest is malformed")
    return _Manifest(format=FORMAT, suite=manifest["suite"], files=manifest["files"], weights=manifest["weights"])


def _extract(archive: zipfile.ZipFile, files: dict[str, str], folder: Path) -> list[str]:
    """Unpack the manifest's files, except names that lead out of the folder; return problems."""
    present = Counter(name for name in archive.namelist() if name != MANIFEST)
    strange = {name for name in files.keys() | present if not _NAMES.fullmatch(name)}
    problems = [f"{name!r:.100} does not belong into a submission" for name in sorted(strange)]
    problems += [f"{name} is there twice" for name in sorted(present.keys() - strange) if present[name] > 1]
    problems += [f"{name} is not in the manifest" for name in sorted(present.keys() - files.keys() - strange)]
    problems += [f"{name} is missing" for name in sorted(files.keys() - present.keys() - strange)]
    for name in sorted((files.keys() & present.keys()) - strange):
        _unpack_member(archive, name, folder / name)
        if _sha256(folder / name) != files[name]:
            problems.append(f"{name} is not the file that was packed")
    return problems


def _unpack_member(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    def write(temporary: Path) -> None:
        with archive.open(name) as source, temporary.open("wb") as target:
            shutil.copyfileobj(source, target, _BLOCK)

    write_atomically(path, write, durable=False)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
