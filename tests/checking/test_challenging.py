"""Challenges: adversarial images without code lower a row's bound, are credited, and change nothing else."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchbench.checking.challenging import ChallengeResult, challenge
from benchbench.checking.verifying import verify
from benchbench.cli import invoke
from benchbench.errors import DataError, StorageError, UsageError
from benchbench.leaderboard import read_rows, write_leaderboard
from benchbench.leaderboard.challenges import CHALLENGED, Challenge, read_challenges, write_challenge
from benchbench.records import Row
from benchbench.records.arrays import Array, read_images, read_unchecked_arrays

COMMITTED = Path(__file__).resolve().parents[2] / "leaderboards"


def committed(attack: str, variant: str = "") -> Row:
    """The committed row of GR on digits, by attack."""
    rows = (row for row in read_rows(COMMITTED / "closer-look.parquet") if row.source == "measured")
    (row,) = (
        r for r in rows if (r.dataset, r.defense, r.attack) == ("digits", "gr", attack) and variant in r.attack_options
    )
    return row


PGD = committed("pgd-10")
MT = committed("mt-20", "equation")


def arrays(kind: str, digest: str) -> dict[str, Array]:
    found = read_unchecked_arrays(COMMITTED / "closer-look" / kind / f"{digest}.parquet")
    assert found is not None
    return found


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A copy of the board with the evidence of one row."""
    folder = tmp_path / "boards" / "closer-look"
    for kind, name in (("outcomes", PGD.outcomes_digest), ("witnesses", PGD.witnesses_digest)):
        (folder / kind).mkdir(parents=True)
        shutil.copy(COMMITTED / "closer-look" / kind / f"{name}.parquet", folder / kind)
    (folder / "models").mkdir()
    shutil.copy(COMMITTED / "closer-look" / "models" / f"{PGD.model_id}.safetensors", folder / "models")
    write_leaderboard(folder.parent / "closer-look.parquet", [PGD])
    return folder.parent / "closer-look.parquet"


def write_images(path: Path, index: Array, images: Array) -> Path:
    """A file as anyone writes it: a list of numbers per row."""
    lists = [image.ravel().tolist() for image in images.astype(np.float32)]
    pq.write_table(pa.table({"index": index, "image": pa.array(lists, type=pa.list_(pa.float32()))}), path)
    return path


@pytest.fixture
def stronger(tmp_path: Path) -> Path:
    """The images of the multi-targeted attack on the same model: they break examples that PGD-10 left."""
    images = arrays("witnesses", MT.witnesses_digest)["image"]
    return write_images(tmp_path / "mt.parquet", arrays("outcomes", MT.outcomes_digest)["index"], images)


def send(board: Path, images: Path, by: str = "A. Miller") -> ChallengeResult:
    return challenge(PGD.cell_id[:8], images, leaderboard=board, by=by, runs=board.parent / "none", device="cpu")


def both_robust() -> float:
    """Share of examples that withstand both attacks, from the committed outcomes alone."""
    robust = [arrays("outcomes", row.outcomes_digest)["robust"] for row in (PGD, MT)]
    return float(np.mean(robust[0] & robust[1]))


def test_images_of_a_stronger_attack_lower_the_bound_and_not_the_row(board: Path, stronger: Path) -> None:
    before = board.read_bytes()
    result = send(board, stronger)
    assert result.bound == pytest.approx(both_robust())
    assert result.bound < PGD.adv_test_accuracy
    assert board.read_bytes() == before
    (kept,) = read_challenges(board.parent / "closer-look" / "challenges" / PGD.cell_id)
    assert (kept.by, tuple(kept.index.tolist())) == ("A. Miller", result.broken)
    again = send(board, stronger, by="B")
    assert (again.broken, again.path, again.bound) == ((), None, result.bound)


def test_order_of_challenges_changes_nothing(board: Path, stronger: Path, tmp_path: Path) -> None:
    broken = send(board, stronger).broken
    table = pq.read_table(stronger)
    halves = [table.filter(pa.array(np.isin(table["index"], broken[start::2]))) for start in (0, 1)]
    found = []
    for order in ((0, 1), (1, 0)):
        shutil.rmtree(board.parent / "closer-look" / "challenges")
        for half in order:
            pq.write_table(halves[half], tmp_path / "half.parquet")
            bound = send(board, tmp_path / "half.parquet", by=f"challenger {half}").bound
        files = (board.parent / "closer-look" / "challenges" / PGD.cell_id).iterdir()
        found.append((bound, {(path.name, path.read_bytes()) for path in files}))
    assert found[0] == found[1]
    assert found[0][0] == pytest.approx(both_robust())


def test_images_that_break_nothing_are_rejected_by_reason(board: Path, tmp_path: Path) -> None:
    outcomes, images = (
        arrays("outcomes", PGD.outcomes_digest),
        arrays("witnesses", PGD.witnesses_digest)["image"].copy(),
    )
    robust = np.flatnonzero(outcomes["robust"])[:5]
    chosen, index = images[robust], outcomes["index"][robust].copy()
    chosen[0] += 2.0  # out of the box
    chosen[1] = 1.0 - chosen[1]  # in the box, far outside the ball
    chosen[2, 0, 0, 0] = np.nan
    index[3] = 10**9
    result = send(board, write_images(tmp_path / "bad.parquet", index, chosen))
    assert (result.broken, result.path, result.bound) == ((), None, PGD.adv_test_accuracy)
    assert result.rejected["leaves the box"] == (index[0],)
    assert set(result.rejected["leaves the ball"]) >= {index[0], index[1]}
    assert index[2] in result.rejected["is not finite"]
    assert result.rejected["is of no test example of this row"] == (10**9,)
    assert index[4] in result.rejected["does not change the answer"]


def test_nonsense_is_told_in_one_line(board: Path, stronger: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--by"):
        send(board, stronger, by=" ")
    with pytest.raises(StorageError, match="no file"):
        send(board, tmp_path / "none.parquet")
    pq.write_table(pa.table({"index": [1], "image": [[0.5] * 63]}), tmp_path / "small.parquet")
    with pytest.raises(DataError, match=r"1x8x8 numbers"):
        send(board, tmp_path / "small.parquet")
    with pytest.raises(UsageError, match="UTF-8"):
        send(board, stronger, by="A. Miller\udcff")
    (board.parent / "closer-look" / "models" / f"{PGD.model_id}.safetensors").unlink()
    with pytest.raises(DataError, match="no checkpoint"):
        send(board, stronger)


@pytest.mark.parametrize(
    ("columns", "got"),
    [
        ({"index": [1, None], "image": [[0.5] * 64] * 2}, "'index', 'image'"),
        ({"index": [1, 2], "image": [[0.5] * 60, [0.5] * 68]}, "128 values"),
        ({"index": [1], "image": [[0.5] * 64], "again": [1]}, "'index', 'image', 'index'"),
    ],
)
def test_columns_that_name_no_image_for_each_index_are_refused(
    tmp_path: Path, columns: dict[str, list[object]], got: str
) -> None:
    table = pa.table(columns).rename_columns(["index", "image", "index"][: len(columns)])
    pq.write_table(table, tmp_path / "images.parquet")
    with pytest.raises(DataError, match=got):
        read_images(tmp_path / "images.parquet", (1, 8, 8))


@pytest.mark.parametrize("turned", [False, True])
def test_merging_keeps_the_challenges_of_the_rows_that_stand(
    board: Path, stronger: Path, tmp_path: Path, turned: bool
) -> None:
    (other := tmp_path / "other").mkdir()
    write_leaderboard(other / "closer-look.parquet", [dataclasses.replace(PGD, test_accuracy=0.5)])
    send(board, stronger)
    out = tmp_path / "merged" / "closer-look.parquet"
    boards = [str(board), str(other / "closer-look.parquet")]
    invoke(["leaderboard", "merge", *(boards[::-1] if turned else boards), "--keep", "first", "--out", str(out)])
    kept = [*read_challenges(out.parent / "closer-look" / "challenges" / PGD.cell_id)]
    assert [one.by for one in kept] == ([] if turned else ["A. Miller"])


def test_tables_and_verify_show_the_challenged_bound(
    board: Path, stronger: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    send(board, stronger, by="A. \x1b[31mMiller")
    capsys.readouterr()
    assert invoke(["table", str(board)]) == 0
    shown = capsys.readouterr().out
    assert "§ challenged by A. \\x1b[31mMiller" in shown
    assert f"robust accuracy is at most {100 * both_robust():.2f}%" in shown
    assert "GR (variant=equation) †§" in shown
    assert invoke(["table", str(board), "--format", "json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)
    assert CHALLENGED in [column["key"] for column in table["columns"]]
    (verdict,) = verify(board, runs=board.parent / "none", device="cpu", replay_only=True)
    assert verdict.status == "confirmed"
    assert any("the challenge by" in remark and f"at most {both_robust():.1%}" in remark for remark in verdict.remarks)


def test_verify_says_what_a_false_challenge_proves(board: Path, stronger: Path) -> None:
    result = send(board, stronger)
    assert result.path is not None
    (kept,) = read_challenges(result.path.parent)
    images = arrays("witnesses", PGD.witnesses_digest)["image"]
    at = np.isin(arrays("outcomes", PGD.outcomes_digest)["index"], kept.index)
    result.path.unlink()
    write_challenge(result.path.parent, Challenge(by="a liar", index=kept.index, images=images[at]))
    (verdict,) = verify(board, runs=board.parent / "none", device="cpu", replay_only=True)
    assert any(f"0 of {len(kept.index)} images break" in remark for remark in verdict.remarks)
