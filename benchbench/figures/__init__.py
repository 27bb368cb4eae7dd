"""The papers' figures, drawn from what was measured. matplotlib is an extra, imported inside the functions only."""

from __future__ import annotations

from benchbench.figures.drawing import FIGURES, FORMATS, Sources, draw

__all__ = ["FIGURES", "FORMATS", "Sources", "draw"]
