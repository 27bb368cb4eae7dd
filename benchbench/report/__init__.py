"""Leaderboards as static HTML pages that work from a disk, without a server and without a network."""

from __future__ import annotations

from benchbench.report.contents import Board, Contents, Gallery, Specimen, Trouble
from benchbench.report.site import write_site

__all__ = ["Board", "Contents", "Gallery", "Specimen", "Trouble", "write_site"]
