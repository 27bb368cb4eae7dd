"""Submissions: complete, deterministic, and unpacked only where the manifest lists and confirms the files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from sample_rows import make_row

from benchbench.errors import CorruptDataError, DataError, StorageError
from benchbench.leaderboard import read_rows
from benchbench.leaderboard.packing import MANIFEST, pack, unpack
from benchbench.records import Row
from benchbench.records.arrays import content_digest, to_array, write_arrays


@pytest.fixture
def row(tmp_path: Path) -> Row:
    """A row whose evidence is in tmp_path/store."""
    digests = {}
    for kind in ("outcomes", "witnesses"):
        arrays = {"index": to_array("index", [1, 2, len(kind)])}
        digests[f"{kind}_digest"] = content_digest(arrays)
        (tmp_path / "store" / kind).mkdir(parents=True)
        write_arrays(tmp_path / "store" / kind / f"{content_digest(arrays)}.parquet", arrays)
    (tmp_path / "store" / "models").mkdir()
    (tmp_path / "store" / "models" / "m.safetensors").write_bytes(b"weights")
    return make_row(model_id="m", **digests)


def packed(tmp_path: Path, row: Row, name: str = "s.zip", *, weights: bool = False) -> Path:
    def find(kind: str, file: str) -> Path | None:
        path = tmp_path / "store" / kind / file
        return path if path.is_file() else None

    scratch = tmp_path / f"scratch-{name}"
    scratch.mkdir()
    pack([row], find, tmp_path / name, scratch=scratch, weights=weights)
    return tmp_path / name


def rezip(path: Path, changes: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()} | changes
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_submission_holds_rows_evidence_and_digests_of_weights(tmp_path: Path, row: Row) -> None:
    submission = unpack(packed(tmp_path, row), tmp_path / "there")
    assert submission.problems == ()
    assert read_rows(tmp_path / "there" / "leaderboard.parquet") == [row]
    assert set(submission.weights) == {"m"}
    assert (tmp_path / "there" / "outcomes" / f"{row.outcomes_digest}.parquet").is_file()
    assert not (tmp_path / "there" / "models").exists()
    unpack(packed(tmp_path, row, "w.zip", weights=True), tmp_path / "with")
    assert (tmp_path / "with" / "models" / "m.safetensors").read_bytes() == b"weights"


def test_same_content_makes_the_same_bytes(tmp_path: Path, row: Row) -> None:
    assert packed(tmp_path, row, "a.zip").read_bytes() == packed(tmp_path, row, "b.zip").read_bytes()


def test_missing_evidence_is_named_and_nothing_written(tmp_path: Path, row: Row) -> None:
    (tmp_path / "store" / "witnesses" / f"{row.witnesses_digest}.parquet").unlink()
    with pytest.raises(DataError, match=row.witnesses_digest):
        packed(tmp_path, row)
    assert not (tmp_path / "s.zip").exists()


@pytest.mark.parametrize("name", ["../escape.parquet", "/etc/escape", "outcomes/../../escape.parquet", "extra.txt"])
def test_files_that_do_not_belong_are_refused(tmp_path: Path, row: Row, name: str) -> None:
    path = packed(tmp_path, row)
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read(MANIFEST))
    manifest["files"][name] = "ab" * 32
    rezip(path, {name: b"x", MANIFEST: json.dumps(manifest).encode()})
    submission = unpack(path, tmp_path / "deep" / "there")
    assert any("does not belong" in problem for problem in submission.problems)
    assert not list(tmp_path.rglob("escape*"))


def test_changed_missing_and_added_files_are_reported(tmp_path: Path, row: Row) -> None:
    outcomes = f"outcomes/{row.outcomes_digest}.parquet"
    path = rezip(packed(tmp_path, row), {outcomes: b"forged", "note.txt": b"hello"})
    problems = " ".join(unpack(path, tmp_path / "there").problems)
    assert f"{outcomes} is not the file that was packed" in problems
    assert "'note.txt' does not belong into a submission" in problems


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 but no more"])
def test_file_that_is_no_zip_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.zip").write_bytes(content)
    with pytest.raises(CorruptDataError):
        unpack(tmp_path / "s.zip", tmp_path / "there")


def test_truncated_and_newer_submissions_are_refused(tmp_path: Path, row: Row) -> None:
    path = packed(tmp_path, row)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptDataError):
        unpack(path, tmp_path / "there")
    path.write_bytes(whole)
    rezip(path, {MANIFEST: json.dumps({"format": 2}).encode()})
    with pytest.raises(StorageError, match="format 2"):
        unpack(path, tmp_path / "there")
    with pytest.raises(StorageError, match="no submission"):
        unpack(tmp_path / "nowhere.zip", tmp_path / "there")
