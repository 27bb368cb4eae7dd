"""Robustness from separation: the distance classifier and Theorem 4.2 (paper, section 4), checked numerically."""

from __future__ import annotations

from benchbench.theory.check import TheoremCheck, check_theorem
from benchbench.theory.functions import binary_function, class_functions, separation_radius
from benchbench.theory.spiral import SpiralField, evaluate_spiral, save_spiral

__all__ = [
    "SpiralField",
    "TheoremCheck",
    "binary_function",
    "check_theorem",
    "class_functions",
    "evaluate_spiral",
    "save_spiral",
    "separation_radius",
]
