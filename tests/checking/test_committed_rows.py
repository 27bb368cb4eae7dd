"""The committed weights and witnesses of the digits rows: `verify` confirms them in a fresh clone, without a runs folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchbench.checking.verifying import verify
from benchbench.cli import invoke
from benchbench.leaderboard import read_rows, write_leaderboard
from benchbench.records import Row, checkpoint_name

LEADERBOARDS = Path(__file__).resolve().parents[2] / "leaderboards"
LARGEST = 3 * 2**20  # bytes of all committed weights and witnesses


def digits_rows() -> list[Row]:
    found = read_rows(LEADERBOARDS / "closer-look.parquet")
    return [row for row in found if row.source == "measured" and row.dataset == "digits"]


def test_weights_and_witnesses_of_all_digits_rows_are_committed_and_small() -> None:
    folder = LEADERBOARDS / "closer-look"
    rows = digits_rows()
    assert len(rows) == 31
    for row in rows:
        assert (folder / "outcomes" / f"{row.outcomes_digest}.parquet").is_file()
        assert (folder / "witnesses" / f"{row.witnesses_digest}.parquet").is_file()
        assert row.defense == "distance" or (folder / "models" / checkpoint_name(row.model_id)).is_file()
    files = [path for kind in ("witnesses", "models") for path in (folder / kind).iterdir()]
    assert sum(path.stat().st_size for path in files) < LARGEST


@pytest.mark.parametrize("defense", ["natural", "at"])
def test_committed_digits_row_is_confirmed_and_its_model_attacked_again(
    defense: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = next(row for row in digits_rows() if (row.defense, row.attack) == (defense, "pgd-10"))
    write_leaderboard(tmp_path / "closer-look.parquet", [row])
    (tmp_path / "closer-look").symlink_to(LEADERBOARDS / "closer-look")
    monkeypatch.setenv("BENCHBENCH_HOME", str(tmp_path / "nothing"))
    (verdict,) = verify(tmp_path / "closer-look.parquet", device="cpu", seed=0)
    assert verdict.status == "confirmed", verdict
    assert verdict.bound == row.adv_test_accuracy
    assert len(verdict.sampled) > 100
    assert invoke(["verify", str(tmp_path / "closer-look.parquet"), "--quiet", "--replay-only"]) == 0
