"""Suites: read TOML into a frozen `Suite`, and report all mistakes at once.

docs/suite-format.md is the reference of the format.
"""

from __future__ import annotations

from benchbench.suite.model import Experiment, Filter, Finding, RecipeLayer, Suite
from benchbench.suite.reading import read_suite, suite_from_table

__all__ = ["Experiment", "Filter", "Finding", "RecipeLayer", "Suite", "read_suite", "suite_from_table"]
