"""Leaderboard files, the published numbers, and tables in the papers' style."""

from __future__ import annotations

from benchbench.leaderboard.files import read_leaderboard, read_rows, write_leaderboard
from benchbench.leaderboard.formats import FORMATS, render, render_all, table_document
from benchbench.leaderboard.layout import Entry, Group, Line, Table
from benchbench.leaderboard.published import published_rows, published_separation, write_published
from benchbench.leaderboard.rebuilding import outcomes_folder, rebuild
from benchbench.leaderboard.tables import paper_table, paper_tables

__all__ = [
    "FORMATS",
    "Entry",
    "Group",
    "Line",
    "Table",
    "outcomes_folder",
    "paper_table",
    "paper_tables",
    "published_rows",
    "published_separation",
    "read_leaderboard",
    "read_rows",
    "rebuild",
    "render",
    "render_all",
    "table_document",
    "write_leaderboard",
    "write_published",
]
