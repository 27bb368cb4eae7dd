"""Reproducing the papers: any table by its number, and a page for each with what was run and what agrees."""

from __future__ import annotations

from benchbench.reproduction.pages import write_pages
from benchbench.reproduction.tables import Measured, make_table

__all__ = ["Measured", "make_table", "write_pages"]
