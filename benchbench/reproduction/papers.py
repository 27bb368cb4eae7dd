"""The tables of both versions of the paper."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

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


def _table(paper: Paper, number: int, caption: str, kind: TableKind = "models", decimals: int = 2) -> PaperTable:
    return PaperTable(paper=paper, number=str(number), caption=caption, kind=kind, decimals=decimals)


_neurips, _arxiv = partial(_table, "neurips2020"), partial(_table, "arxiv-v1")
TABLES: tuple[PaperTable, ...] = (
    _neurips(1, "separation of the training and test data", "separation", 3),
    _neurips(2, "MNIST, CNN1 and CNN2, PGD-10"),
    _neurips(3, "CIFAR-10 and Restricted ImageNet, PGD-10"),
    _neurips(4, "SVHN and CIFAR-10 with and without dropout, PGD-10"),
    _neurips(5, "experimental setup", "setup"),
    _neurips(6, "proof of concept: networks trained with access to the TEST SET"),
    _neurips(7, "setup of the proof of concept (networks that see the TEST SET)", "setup"),
    _neurips(8, "separation with the original and with random labels", "separation", 3),
    _neurips(9, "MNIST, CNN1, multi-targeted attack"),
    _neurips(10, "MNIST, CNN2, multi-targeted attack"),
    _neurips(11, "SVHN, multi-targeted attack"),
    _neurips(12, "CIFAR-10, multi-targeted attack"),
    _neurips(13, "Restricted ImageNet, multi-targeted attack"),
    _neurips(14, "SVHN and CIFAR-10 with and without dropout, multi-targeted attack"),
    _arxiv(1, "staircase regression, 40 training examples", "staircase", 4),
    _arxiv(2, "MNIST, CNN1, PGD-10"),
    _arxiv(3, "MNIST, CNN2, PGD-10"),
    _arxiv(4, "SVHN, PGD-10"),
    _arxiv(5, "CIFAR-10 without augmentation, PGD-10"),
    _arxiv(6, "CIFAR-10 with augmentation, PGD-10"),
    _arxiv(7, "Restricted ImageNet, PGD-10"),
    _arxiv(8, "staircase regression, 30,000 training examples", "staircase", 3),
    _arxiv(9, "MNIST, CNN1, multi-targeted attack"),
    _arxiv(10, "MNIST, CNN2, multi-targeted attack"),
    _arxiv(11, "SVHN, multi-targeted attack"),
    _arxiv(12, "CIFAR-10 without augmentation, multi-targeted attack"),
    _arxiv(13, "CIFAR-10 with augmentation, multi-targeted attack"),
    _arxiv(14, "Restricted ImageNet, multi-targeted attack"),
    _arxiv(15, "experimental setup", "setup"),
)


def find_table(paper: str, number: str) -> PaperTable:
    """A paper's table by its number; the hint of a UsageError lists the known papers or tables."""
    if paper not in PAPERS:
        raise UsageError(f"unknown paper {paper!r}", hint=suggest(paper, PAPERS))
    known = {table.number: table for table in TABLES if table.paper == paper}
    if number.strip() not in known:
        listed = "; ".join(f"{table.number}: {table.caption}" for table in known.values())
        raise UsageError(f"{paper} has nothing of table {number!r}", hint=f"it has 1 to {len(known)} ({listed})")
    return known[number.strip()]
