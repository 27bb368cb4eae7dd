"""A submission's way into a laboratory's leaderboards: pack, check, accept; nothing is written if anything is wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchbench.checking import submissions
from benchbench.checking.verifying import verify
from benchbench.cli import invoke
from benchbench.leaderboard import read_rows, write_leaderboard
from benchbench.leaderboard.merging import copy_evidence
from benchbench.records.claims import Claims
from benchbench.training.checkpoint import read_checkpoint, write_checkpoint

COMMITTED = Path(__file__).resolve().parents[2] / "leaderboards"


@pytest.fixture
def submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two committed rows of one model, packed with weights."""
    monkeypatch.chdir(tmp_path)
    rows = [row for row in read_rows(COMMITTED / "closer-look.parquet") if row.source == "measured"]
    chosen = [row for row in rows if (row.dataset, row.defense) == ("digits", "at")][:2]
    write_leaderboard(tmp_path / "theirs" / "closer-look.parquet", chosen)
    (tmp_path / "theirs" / "closer-look").symlink_to(COMMITTED / "closer-look")
    assert invoke(["leaderboard", "pack", "theirs/closer-look.parquet", "--out", "s.zip", "--weights"]) == 0
    return tmp_path / "s.zip"


def accept(submission: Path, *more: str) -> int:
    return invoke(["leaderboard", "accept", str(submission), "--leaderboards", "lab", "--replay-only", *more])


def test_accepted_rows_can_be_verified_and_reported_from_the_labs_folders_alone(submission: Path) -> None:
    assert accept(submission) == 0
    verdicts = verify(Path("lab/closer-look.parquet"), runs=Path("none"), device="cpu", replay_only=True)
    assert [verdict.status for verdict in verdicts] == ["confirmed", "confirmed"]
    before = {path: path.read_bytes() for path in Path("lab").rglob("*") if path.is_file()}
    assert accept(submission) == 0  # again: nothing changes
    assert {path: path.read_bytes() for path in Path("lab").rglob("*") if path.is_file()} == before


def test_damaged_or_contradicting_submission_is_not_accepted(
    submission: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_rows(Path("theirs/closer-look.parquet"))
    better = [dataclasses.replace(row, adv_test_accuracy=0.9) for row in rows]
    write_leaderboard(Path("theirs/closer-look.parquet"), better)
    assert invoke(["leaderboard", "pack", "theirs/closer-look.parquet", "--out", "forged.zip", "--weights"]) == 0
    assert accept(Path("forged.zip")) == 1
    assert "not accepted" in capsys.readouterr().out
    assert not Path("lab").exists()
    write_leaderboard(Path("lab/closer-look.parquet"), better)
    present = Path("lab/closer-look.parquet").read_bytes()
    assert accept(submission) == 1
    assert "conflict: cell" in capsys.readouterr().out
    assert Path("lab/closer-look.parquet").read_bytes() == present


def test_rows_stay_verifiable_beside_other_weights_of_their_model(submission: Path) -> None:
    models = Path("lab/closer-look/models")
    models.mkdir(parents=True)
    (row, _) = read_rows(Path("theirs/closer-look.parquet"))
    stored = read_checkpoint(COMMITTED / "closer-look" / "models" / f"{row.model_id}.safetensors")
    assert stored is not None
    others = {name: tensor + 1 for name, tensor in stored.tensors.items()}
    write_checkpoint(models / f"{row.model_id}.safetensors", row.model_id, others, stored.position)
    assert accept(submission) == 0
    verdicts = verify(Path("lab/closer-look.parquet"), runs=Path("none"), device="cpu", replay_only=True)
    assert [verdict.status for verdict in verdicts] == ["confirmed", "confirmed"]


def test_weights_of_another_run_here_are_neither_packed_nor_compared_with_the_packed_ones(
    submission: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The runs folder is of a run of the same cell that trained other weights."""
    (row, _) = read_rows(Path("theirs/closer-look.parquet"))
    runs, name = Path("runs"), f"{row.model_id}.safetensors"
    for folder in ("cells", "models"):
        (runs / folder).mkdir(parents=True)
    stored = read_checkpoint(COMMITTED / "closer-look" / "models" / name)
    assert stored is not None
    others = {key: tensor + 1 for key, tensor in stored.tensors.items()}
    write_checkpoint(runs / "models" / name, row.model_id, others, stored.position)
    pack = ["leaderboard", "pack", "theirs/closer-look.parquet", "--runs", "runs", "--out"]
    assert invoke([*pack, "named.zip"]) == 0  # it names the digest of the weights beside the leaderboard
    assert invoke(["leaderboard", "check", "named.zip", "--runs", "runs", "--replay-only"]) == 0  # they are not here
    said = capsys.readouterr().out
    assert "no checkpoint on this machine is of its run" in said
    assert "not the one that was packed" not in said
    Path("theirs/closer-look").unlink()
    shutil.copytree(COMMITTED / "closer-look", "theirs/closer-look", ignore=lambda *_: {"models"})
    assert invoke([*pack, "without.zip"]) == 0
    with zipfile.ZipFile("without.zip") as archive:
        assert json.loads(archive.read("manifest.json"))["weights"] == {}


@pytest.mark.parametrize("name", ["models/0123456789abcdef.safetensors", f"outcomes/{'a' * 64}.parquet"])
def test_files_that_no_row_names_do_not_enter_the_lab(
    submission: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Another's row, whose weights are not there yet, would be refuted by them."""
    with zipfile.ZipFile(submission) as archive:
        content = {one: archive.read(one) for one in archive.namelist()}
    manifest = json.loads(content["manifest.json"])
    manifest["files"][name] = hashlib.sha256(b"junk").hexdigest()
    with zipfile.ZipFile("poisoned.zip", "w") as archive:
        for one, data in {**content, name: b"junk", "manifest.json": json.dumps(manifest).encode()}.items():
            archive.writestr(one, data)
    assert accept(Path("poisoned.zip")) == 1
    assert f"problem: {name} belongs to no row" in capsys.readouterr().out
    assert not Path("lab").exists()


def test_manifest_of_another_suite_and_a_row_that_is_left_out_are_problems_of_the_submission_not_of_a_temporary_file(
    submission: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(submission) as archive:
        content = {one: archive.read(one) for one in archive.namelist()}
    (table,) = (name for name in content if name == "leaderboard.parquet")
    rows = pq.read_table(io.BytesIO(content[table]))
    place = rows.schema.get_field_index("test_accuracy")
    impossible = io.BytesIO()
    pq.write_table(rows.set_column(place, rows.schema.field(place), pa.array([7.0] * len(rows))), impossible)
    manifest = {**json.loads(content["manifest.json"]), "suite": "smoke"}
    for data, problem in (
        (content[table], "problem: its manifest and its rows name different suites: closer-look, smoke\n"),
        (impossible.getvalue(), "problem: leaderboard.parquet: "),
    ):
        manifest["files"] |= {table: hashlib.sha256(data).hexdigest()}
        with zipfile.ZipFile("other.zip", "w") as archive:
            for one, packed in {**content, table: data, "manifest.json": json.dumps(manifest).encode()}.items():
                archive.writestr(one, packed)
        assert accept(Path("other.zip")) == 1
        assert problem in capsys.readouterr().out
        assert not Path("lab").exists()


def test_one_submission_is_put_at_a_time(submission: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = []

    def copy(*arguments: Any) -> int:
        with Claims(Path("lab/closer-look/claims")).held("leaderboard") as mine:
            others.append(mine)
        return copy_evidence(*arguments)

    monkeypatch.setattr(submissions, "copy_evidence", copy)
    assert accept(submission) == 0
    assert others == [False]


def test_rows_that_cannot_be_checked_here_are_taken_only_if_one_says_so(submission: Path, tmp_path: Path) -> None:
    assert invoke(["leaderboard", "pack", "theirs/closer-look.parquet", "--out", "bare.zip"]) == 0
    shutil.rmtree(tmp_path / "benchbench-home", ignore_errors=True)
    assert accept(Path("bare.zip")) == 2
    assert not Path("lab").exists()
    assert accept(Path("bare.zip"), "--unchecked") == 0
    assert len(read_rows(Path("lab/closer-look.parquet"))) == 2
