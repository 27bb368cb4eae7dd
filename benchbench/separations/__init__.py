"""How far apart a dataset's classes are (paper: section 3, Tables 1, 8, Figures 2, 5, 7, 8)."""

from __future__ import annotations

from benchbench.separations.neighbours import nearest_other_class
from benchbench.separations.report import Pair, Separation, SeparationReport, measure

__all__ = ["Pair", "Separation", "SeparationReport", "measure", "nearest_other_class"]
