"""Planning: a suite's grid as cells, each ready or skipped with a reason."""

from __future__ import annotations

from benchbench.planning.datasets import DatasetLoader
from benchbench.planning.model import Bill, CellPrice, Plan, PlannedCell, Status, bill, bills
from benchbench.planning.planner import make_plan

__all__ = [
    "Bill",
    "CellPrice",
    "DatasetLoader",
    "Plan",
    "PlannedCell",
    "Status",
    "bill",
    "bills",
    "make_plan",
]
