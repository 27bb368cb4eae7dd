"""Ranked boards and spreads over seeds as pages show them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from contender_samples import contender, share
from site_samples import text

from benchbench.leaderboard import write_leaderboard
from benchbench.report import Board, Contents, write_site
from benchbench.report.ranked import method_spreads, ranked_boards


def test_spreads_are_by_radius_and_seeds_without_spread_have_no_interval(tmp_path: Path) -> None:
    found = tuple(
        contender(f"at{epsilon}-{seed}", ("pgd", share(count)), defense="at", epsilon=epsilon, seed=seed)
        for epsilon, counts in ((0.1, (90, 80)), (0.2, (50, 50)))
        for seed, count in enumerate(counts)
    )
    board = Board(path=tmp_path, rows=tuple(c.row for c in found), contenders=found)
    assert [(name, profile, one.mean, one.low is None) for name, profile, one in method_spreads(board)] == [
        ("mnist cnn2 AT, epsilon 0.1", "quick", pytest.approx(0.85), False),
        ("mnist cnn2 AT, epsilon 0.2", "quick", pytest.approx(0.5), True),
    ]
    quick = contender("quick", ("pgd", share(70)), defense="at", epsilon=0.1, profile="other")
    beside = dataclasses.replace(board, rows=(*board.rows, quick.row), contenders=(*found, quick))
    assert method_spreads(beside) == method_spreads(board)  # a name tells methods of the table apart, not others
    write_leaderboard(tmp_path / "board.parquet", board.rows)
    filed = dataclasses.replace(board, path=tmp_path / "board.parquet")
    write_site(Contents(boards=(filed,)), tmp_path / "site")
    assert "no spread" in text(tmp_path / "site" / board.suite / "index.html")
    assert len({one.caption for found in ranked_boards(board).values() for one in found}) == 2
