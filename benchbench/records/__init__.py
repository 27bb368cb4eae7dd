"""Typed rows, their Arrow schema, and the store that keeps them whole."""

from __future__ import annotations

from benchbench.records.building import Provenance, failed_row, measured_row
from benchbench.records.finished import FinishedCells, flags_are_current, is_finished
from benchbench.records.intervals import Interval, accuracy_interval, mean_interval
from benchbench.records.row import Row
from benchbench.records.rows import Rows, groups
from benchbench.records.schema import SCHEMA_VERSION, schema, table_from_rows
from benchbench.records.store import RunStore, checkpoint_name, kept_checkpoints
from benchbench.records.validity import rows_from_table

__all__ = [
    "SCHEMA_VERSION",
    "FinishedCells",
    "Interval",
    "Provenance",
    "Row",
    "Rows",
    "RunStore",
    "accuracy_interval",
    "checkpoint_name",
    "failed_row",
    "flags_are_current",
    "groups",
    "is_finished",
    "kept_checkpoints",
    "mean_interval",
    "measured_row",
    "rows_from_table",
    "schema",
    "table_from_rows",
]
