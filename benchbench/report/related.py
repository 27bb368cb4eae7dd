"""What a row's page shows beside the row: its model elsewhere, challenges, commands, a citation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchbench.escaping import printable
from benchbench.leaderboard import names
from benchbench.leaderboard.challenges import CHALLENGED, challenges_folder, read_challenges
from benchbench.leaderboard.identity import ATTACKED, THREAT, grouped, values
from benchbench.leaderboard.latex import escape_latex
from benchbench.records import Row
from benchbench.report.standings import measure_of
from benchbench.version import DISTRIBUTION, __version__

_ANY_BALL = tuple(name for name in ATTACKED if name not in THREAT)


@dataclass(frozen=True, kw_only=True)
class Credit:
    """A sender of challenges, with the number of test examples that their images break."""

    by: str
    examples: int


@dataclass(frozen=True, kw_only=True)
class Challenged:
    """The robust accuracy that challenges leave, at most, and whom to credit."""

    accuracy: float
    credits: tuple[Credit, ...]


class Relatives:
    """The rows of one model, whatever attacked it and within which radius."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._models = grouped((row for row in rows if row.source == "measured"), _model)

    def attacks_on(self, row: Row) -> list[Row]:
        """All rows of the row's model in its ball, itself included, by attack; empty if it is alone."""
        found = [one for one in self._all(row) if values(one, THREAT) == values(row, THREAT)]
        return sorted(found, key=lambda one: (one.attack, one.attack_options, one.cell_id)) if len(found) > 1 else []

    def radii_of(self, row: Row) -> list[Row]:
        """Finished rows of the row's model in its norm, by radius; empty if there is only one radius."""
        found = [one for one in self._all(row) if one.norm == row.norm and one.status == "ok"]
        measured = [one for one in found if getattr(one, measure_of(one)) is not None]
        several = len({one.epsilon for one in measured}) > 1
        return sorted(measured, key=lambda one: (one.epsilon, one.attack, one.cell_id)) if several else []

    def _all(self, row: Row) -> list[Row]:
        return self._models.get(_model(row), []) if row.source == "measured" else []


def _model(row: Row) -> tuple[object, ...]:
    return values(row, _ANY_BALL)


def challenges_of(row: Row, board: Path) -> Challenged | None:
    """The challenges of a row, kept beside its leaderboard file; None if it has none."""
    if CHALLENGED not in row.extra:
        return None
    found = grouped(read_challenges(challenges_folder(board, row)), lambda one: printable(one.by))
    broken = {by: len(np.unique(np.concatenate([one.index for one in sent]))) for by, sent in found.items()}
    listed = sorted(broken.items(), key=lambda pair: (-pair[1], pair[0]))
    return Challenged(
        accuracy=row.extra[CHALLENGED], credits=tuple(Credit(by=by, examples=count) for by, count in listed)
    )


def commands_of(row: Row) -> tuple[tuple[str, str], ...]:
    """What commands do that check a measured row, and the commands; run beside the downloaded file."""
    if row.source != "measured" or row.status != "ok":
        return ()
    board = f"{row.suite}.parquet"
    return (
        ("Replay the stored images of all rows, and attack again:", f"benchbench verify {board}"),
        ("Train and attack this row again, and compare:", f"benchbench rerun {row.cell_id} --leaderboard {board}"),
    )


def bibtex_of(row: Row) -> str:
    """A BibTeX entry of the row."""
    title = f"{names.row_label(row)}: row {row.cell_id} of the leaderboard {row.suite}"
    origin = f"published in {names.paper_label(row.published_source)}, table {row.published_table}"
    value = getattr(row, measure_of(row))
    measured = "" if value is None else f"{measure_of(row)} {value:.4f} on {row.n_test} test examples"
    note = names.joined(measured, origin if row.source == "published" else "", f"protocol {row.protocol}")
    fields = {
        "author": "{The benchbench developers}",
        "title": f"{{{_for_bibtex(title)}}}",
        "note": _for_bibtex(note),
        "howpublished": _for_bibtex(f"{DISTRIBUTION} {__version__}"),
    }
    lines = (f"  {name:<12} = {{{text}}}," for name, text in fields.items())
    return "\n".join([f"@misc{{benchbench-{row.cell_id},", *lines, "}"])


def _for_bibtex(text: str) -> str:
    """As LaTeX; BibTeX counts even escaped braces, which may be unbalanced."""
    return escape_latex(printable(text).translate({ord("{"): "(", ord("}"): ")"}))
