"""The papers' figures with measured data. matplotlib is an extra, so only functions import it."""

from __future__ import annotations

from benchbench.figures.drawing import FIGURES, FORMATS, Sources, draw

__all__ = ["FIGURES", "FORMATS", "Sources", "draw"]
