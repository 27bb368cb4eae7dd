"""Leaderboards as static HTML pages that need no server and no network."""

from __future__ import annotations

from benchbench.report.contents import Board, Contents, Gallery, Specimen, Trouble
from benchbench.report.site import write_site

__all__ = ["Board", "Contents", "Gallery", "Specimen", "Trouble", "write_site"]
