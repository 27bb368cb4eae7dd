"""Reproduce the papers: each table by number, with a page on what was run and what agrees."""

from __future__ import annotations

from benchbench.reproduction.pages import Measured, make_table, write_pages

__all__ = ["Measured", "make_table", "write_pages"]
