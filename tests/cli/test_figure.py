"""``benchbench figure``: where its rows come from."""

from __future__ import annotations

from pathlib import Path

from cli.conftest import Command
from sample_rows import make_row

from benchbench.leaderboard import write_leaderboard


def test_rows_are_those_of_a_parquet_file_that_is_named(command: Command, tmp_path: Path) -> None:
    shares = {"test_accuracy": 0.9, "adv_test_accuracy": 0.5}
    rows = [make_row(cell_id=one, model_id=one, defense=one, **shares) for one in ("at", "natural")]
    write_leaderboard(tmp_path / "elsewhere" / "mine.parquet", rows)
    answer = command("figure", str(tmp_path / "elsewhere" / "mine.parquet"), "--figure", "tradeoff", "--format", "svg")
    assert answer.status == 0
    assert answer.out.splitlines() == ["figures/tradeoff.svg"]


def test_doubts_about_a_model_mark_its_points_under_every_attack_as_in_tables(command: Command, tmp_path: Path) -> None:
    rows = [
        make_row(cell_id=f"{one}-{attack}", model_id=one, defense=one, attack=attack, flags=flags, test_accuracy=0.9,
                 adv_test_accuracy=0.5)
        for one in ("at", "natural")
        for attack, flags in (("pgd-10", ("margin-ascent-succeeds",) if one == "at" else ()), ("mt-20", ()))
    ]  # fmt: skip
    write_leaderboard(tmp_path / "mine.parquet", rows)
    assert command("figure", str(tmp_path / "mine.parquet"), "--figure", "tradeoff", "--format", "svg").status == 0
    assert (tmp_path / "figures" / "tradeoff.svg").read_text().count(">†<") == 2
