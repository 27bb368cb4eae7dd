"""Figures of suites, and those of the papers, with measured data. Only functions import matplotlib and altair, extras."""

from __future__ import annotations

from benchbench.figures.drawing import FIGURES, FORMATS, Sources, draw, figures_of

__all__ = ["FIGURES", "FORMATS", "Sources", "draw", "figures_of"]
