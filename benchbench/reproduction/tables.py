"""Any table of the papers, with ours beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchbench.leaderboard.layout import Table
from benchbench.leaderboard.separations import MeasuredSeparation
from benchbench.records import Row
from benchbench.registry import load_registry
from benchbench.reproduction.papers import PaperTable
from benchbench.reproduction.separation_table import separation_table
from benchbench.reproduction.setups import setup_table, suite_setups
from benchbench.reproduction.verdict_tables import comparison_table
from benchbench.suite import read_suite


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Measurements with a suite (name or path): leaderboard rows, also published, separations."""

    suite: str
    rows: Sequence[Row]
    separations: Sequence[MeasuredSeparation] = ()


def make_table(paper_table: PaperTable, evidence: Measured) -> Table:
    """A published table with ours beside every number."""
    if paper_table.kind == "separation":
        return separation_table(evidence.separations, paper_table)
    if paper_table.kind == "setup":
        registry = load_registry()
        suite = read_suite(evidence.suite, registry)
        return setup_table(suite_setups(suite, registry, evidence.rows, paper_table), paper_table)
    return comparison_table(evidence.rows, paper_table)
