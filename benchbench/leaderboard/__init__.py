"""Leaderboard files, the published numbers, and tables in the papers' style."""

from __future__ import annotations

from benchbench.leaderboard.files import read_leaderboard, read_rows, write_leaderboard
from benchbench.leaderboard.published import PublishedSeparation, published_rows, published_separation
from benchbench.leaderboard.rebuilding import outcomes_folder, rebuild

__all__ = [
    "PublishedSeparation",
    "outcomes_folder",
    "published_rows",
    "published_separation",
    "read_leaderboard",
    "read_rows",
    "rebuild",
    "write_leaderboard",
]
