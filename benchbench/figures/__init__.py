"""The papers' figures with measured data. Only functions import matplotlib, an extra."""

from __future__ import annotations

from benchbench.figures.drawing import FIGURES, FORMATS, Sources, draw

__all__ = ["FIGURES", "FORMATS", "Sources", "draw"]
