"""The plan room: a suite's grid as cells, each ready or skipped with a reason."""

from __future__ import annotations

from benchbench.plan.billing import Bill, bill, bills
from benchbench.plan.datasets import DatasetLoader
from benchbench.plan.model import Plan, PlannedCell, Status
from benchbench.plan.planning import make_plan
from benchbench.plan.price import CellPrice
from benchbench.plan.selection import parse_only

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
    "parse_only",
]
