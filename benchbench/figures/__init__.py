"""Figures of suites and of the papers; only functions import matplotlib and altair."""

from __future__ import annotations

from benchbench.figures.drawing import FIGURES, FORMATS, Sources, draw, figures_of

__all__ = ["FIGURES", "FORMATS", "Sources", "draw", "figures_of"]
