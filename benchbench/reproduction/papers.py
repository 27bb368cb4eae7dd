"""The tables of both versions of the paper."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from benchbench.errors import UsageError, suggest
from benchbench.leaderboard.names import paper_label

Paper = Literal["neurips2020", "arxiv-v1"]
TableKind = Literal["models", "staircase", "separation", "setup"]
PAPERS: tuple[Paper, ...] = ("neurips2020", "arxiv-v1")


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One table: "models" and "staircase" hold rows, "separation" distances, "setup" recipes."""

    paper: Paper
    number: str
    caption: str  # its content in our words
    kind: TableKind = "models"
    decimals: int = 2  # printed, of accuracies in percent and of plain numbers

    @property
    def name(self) -> str:
        """``NeurIPS 2020, Table 1``."""
        return f"{paper_label(self.paper)}, Table {self.number}"

    @property
    def title(self) -> str:
        """Name and caption."""
        return f"{self.name}: {self.caption}"

    def step(self, unit: str = "") -> float:
        """One unit of the last printed digit, as in the leaderboard: ``"%"`` are fractions there."""
        return 10.0**-self.decimals * (0.01 if unit == "%" else 1.0)


def _read_tables() -> Iterator[PaperTable]:
    text = (files("benchbench.reproduction") / "tables.csv").read_text(encoding="utf-8")
    for record in csv.DictReader(text.splitlines()):
        named: dict[str, Any] = {**record, "decimals": int(record["decimals"])}
        yield PaperTable(**named)


TABLES = tuple(_read_tables())


def find_table(paper: str, number: str) -> PaperTable:
    """A paper's table by its number; the hint of a UsageError lists the known papers or tables."""
    if paper not in PAPERS:
        raise UsageError(f"unknown paper {paper!r}", hint=suggest(paper, PAPERS))
    known = {table.number: table for table in TABLES if table.paper == paper}
    if number.strip() not in known:
        listed = "; ".join(f"{table.number}: {table.caption}" for table in known.values())
        raise UsageError(f"{paper} has nothing of table {number!r}", hint=f"it has 1 to {len(known)} ({listed})")
    return known[number.strip()]
