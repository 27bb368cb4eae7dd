"""What goes into the pages, gathered by whoever can reach runs and data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchbench.comparison.contenders import Contender
from benchbench.leaderboard.separations import MeasuredSeparation
from benchbench.records import Row
from benchbench.records.arrays import Array


@dataclass(frozen=True, kw_only=True)
class EpochPoint:
    """One epoch of a training history: mean loss, and accuracy where the defense gave logits."""

    epoch: int
    loss: float
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """One test example before and after the attack.

    Attributes:
        index: in the dataset.
        label: name of the true class; likewise the predictions.
        adversarial: float (C, H, W) in [0, 1].
        clean: the same of the image itself; None where the data are not at hand.
    """

    index: int
    label: str
    prediction: str
    adversarial_prediction: str
    adversarial: Array
    clean: Array | None = None


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Some examples of a row, and why there are none or no clean ones; empty where nothing is missing."""

    specimens: tuple[Specimen, ...] = ()
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Board:
    """One leaderboard file.

    Attributes:
        path: the file, offered for download as it is.
        rows: those that can be shown.
        problems: of rows that cannot, in one line each.
        attempts: to compute rows again that failed, in one line each; the rows stand.
        contenders: models whose per-example outcomes are at hand, for ranks.
    """

    path: Path
    rows: tuple[Row, ...]
    problems: tuple[str, ...] = ()
    attempts: tuple[str, ...] = ()
    contenders: tuple[Contender, ...] = ()

    @property
    def suite(self) -> str:
        """Name of the suite; it is also the name of the folder of its pages."""
        return self.rows[0].suite


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A file that cannot be shown at all, and why."""

    path: Path
    message: str


def _no_history(_: Row) -> Sequence[EpochPoint]:
    return ()


def _no_gallery(_: Row) -> Gallery:
    return Gallery()


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Everything that the pages show.

    Attributes:
        boards: one per suite.
        troubles: files without a page.
        separations: measured separations of datasets.
        history: gives the training history of a row's model; empty where there is none.
        gallery: gives examples of a row.
    """

    boards: tuple[Board, ...]
    troubles: tuple[Trouble, ...] = ()
    separations: tuple[MeasuredSeparation, ...] = ()
    history: Callable[[Row], Sequence[EpochPoint]] = field(default=_no_history)
    gallery: Callable[[Row], Gallery] = field(default=_no_gallery)
