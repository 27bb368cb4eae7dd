"""All that the pages show, plain data and two callbacks, from `benchbench.report.gathering`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.comparison.contenders import Contender
from benchbench.leaderboard.separations import MeasuredSeparation
from benchbench.records import Row
from benchbench.records.arrays import Array

if TYPE_CHECKING:
    from benchbench.training.checkpoint import EpochRecord


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """One test example before and after the attack, with its true and predicted class names."""

    index: int  # in the dataset
    label: str
    prediction: str
    adversarial_prediction: str
    adversarial: Array  # float (C, H, W) in [0, 1]
    clean: Array | None = None  # likewise; None if the data are missing


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Some examples of a row; `remark` says why clean images are missing."""

    specimens: tuple[Specimen, ...] = ()
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Board:
    """One leaderboard file."""

    path: Path  # the file, offered for download as it is
    rows: Sequence[Row]
    detailed: Sequence[Row] | None = None  # the rows that have a page each; None for all
    problems: tuple[str, ...] = ()  # a line for each row that cannot be shown
    attempts: tuple[str, ...] = ()  # a line for each row that stands because computing it again failed
    contenders: tuple[Contender, ...] = ()  # models whose per-example outcomes are available, for ranks

    @property
    def suite(self) -> str:
        """Name of the suite, and of the folder of its pages."""
        return self.rows[0].suite


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A file that cannot be shown at all, and why."""

    path: Path
    message: str


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Everything that the pages show."""

    boards: tuple[Board, ...]  # one per suite
    troubles: tuple[Trouble, ...] = ()
    separations: tuple[MeasuredSeparation, ...] = ()
    history: Callable[[Row], Sequence[EpochRecord]] = lambda _: ()  # of a row's model; empty if there is none
    gallery: Callable[[Row], Gallery] = lambda _: Gallery()
