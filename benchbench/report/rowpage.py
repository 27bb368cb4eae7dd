"""What the page of a row shows, for its template: the row, its model elsewhere, challenges."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchbench.cell.filters import parse_options
from benchbench.cell.model import UNKNOWN_OF_GIVEN
from benchbench.errors import counted
from benchbench.escaping import printable, printable_json
from benchbench.figures.of_suite import suite_charts
from benchbench.figures.points import Measured
from benchbench.leaderboard import names
from benchbench.leaderboard.challenges import CHALLENGED, challenges_folder, read_challenges
from benchbench.leaderboard.extras import extras_of
from benchbench.leaderboard.identity import ATTACKED, THREAT, grouped, values
from benchbench.leaderboard.latex import escape_latex
from benchbench.leaderboard.matching import measure_of
from benchbench.leaderboard.spread import interval_of
from benchbench.records import Row
from benchbench.records.cards import card_facts
from benchbench.report.boards import row_texts
from benchbench.report.charts import radii_chart
from benchbench.report.contents import Gallery
from benchbench.report.pictures import picture
from benchbench.version import DISTRIBUTION, __version__

if TYPE_CHECKING:
    from benchbench.training.checkpoint import EpochRecord

_JSON_COLUMNS = ("configuration", "versions", "defense_options", "architecture_options", "attack_options", "card")
_ANY_BALL = tuple(name for name in ATTACKED if name not in THREAT)


class Relatives:
    """The rows of each model, under all attacks and within all radii."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._models = grouped((row for row in rows if row.source == "measured"), lambda row: values(row, _ANY_BALL))

    def attacks_on(self, row: Row) -> list[Row]:
        """All rows of the row's model in its ball, itself included, by attack; empty if it is alone."""
        found = [one for one in self._all(row) if values(one, THREAT) == values(row, THREAT)]
        return sorted(found, key=lambda one: (one.attack, one.attack_options, one.cell_id)) if len(found) > 1 else []

    def radii_of(self, row: Row) -> list[Row]:
        """Finished rows of the row's model in its norm, by radius; empty for a single radius."""
        found = [one for one in self._all(row) if one.norm == row.norm and one.status == "ok"]
        measured = [one for one in found if getattr(one, measure_of(one)) is not None]
        several = len({one.epsilon for one in measured}) > 1
        return sorted(measured, key=lambda one: (one.epsilon, one.attack, one.cell_id)) if several else []

    def _all(self, row: Row) -> list[Row]:
        return self._models.get(values(row, _ANY_BALL), []) if row.source == "measured" else []


def row_page(
    row: Row, relatives: Relatives, history: Sequence[EpochRecord], gallery: Gallery, board: Path
) -> dict[str, object]:
    """The template's variables for a row of the leaderboard file `board`."""
    texts, attacks = row_texts(row), relatives.attacks_on(row)
    curves = suite_charts(Measured(rows=(), histories=[(row, history)]), ("epochs",)) if history else {}
    charts = {"training": curves.get("epochs"), "radii": radii_chart(relatives.radii_of(row))}
    return {
        "title": f"{texts['method']} on {row.dataset}, {attack_of(row)}",
        "row": row,
        "interval_of": interval_of,
        "texts": texts,
        "columns": {
            f.name: (_shown(row, f.name), f.metadata["description"].split("`")) for f in dataclasses.fields(Row)
        },
        "extras": extras_of(row),
        "card": {name.replace("_", " "): fact for name, fact in card_facts(row.card).items()},
        "charts": {name: chart for name, chart in charts.items() if chart is not None},
        "gallery": gallery,
        "pictures": [picture(specimen) for specimen in gallery.specimens],
        "attacks": [(one, attack_of(one)) for one in attacks],
        "remarks": [row_texts(one)["remarks"] for one in attacks],
        "challenged": row.extra.get(CHALLENGED),
        "credits": credits_of(row, board),
        "checkable": row.source == "measured" and row.status == "ok",
        "bibtex": bibtex_of(row),
    }


def attack_of(row: Row) -> str:
    """The name of the row's attack, with its variant."""
    return names.attack_label(row.attack, parse_options(row.attack_options))


def credits_of(row: Row, board: Path) -> list[tuple[str, int]]:
    """Who challenged a row, and how many test examples their images break; most examples first."""
    sent = read_challenges(challenges_folder(board, row)) if CHALLENGED in row.extra else ()
    found = grouped(sent, lambda one: printable(one.by))
    broken = {by: len(np.unique(np.concatenate([one.index for one in several]))) for by, several in found.items()}
    return sorted(broken.items(), key=lambda pair: (-pair[1], pair[0]))


def bibtex_of(row: Row) -> str:
    """A BibTeX entry of the row."""
    origin = f"published in {names.paper_label(row.published_source)}, table {row.published_table}"
    value = getattr(row, measure_of(row))
    measured = "" if value is None else f"{measure_of(row)} {value:.4f} on {counted(row.n_test, 'test example')}"
    fields = {
        "author": "The benchbench developers",
        "title": f"{names.row_label(row)}: row {row.cell_id} of the leaderboard {row.suite}",
        "note": names.joined(measured, origin if row.source == "published" else "", f"protocol {row.protocol}"),
        "howpublished": f"{DISTRIBUTION} {__version__}",
    }
    # BibTeX counts even escaped braces, which may be unbalanced
    plain = {name: printable(text).translate({ord("{"): "(", ord("}"): ")"}) for name, text in fields.items()}
    lines = (f"  {name:<12} = {{{{{escape_latex(text)}}}}}," for name, text in plain.items())
    return "\n".join([f"@misc{{benchbench-{row.cell_id},", *lines, "}"])


def _shown(row: Row, name: str) -> str:
    """A column's value as text, JSON indented."""
    value = getattr(row, name)
    if name in _JSON_COLUMNS and value:
        try:
            return printable_json(json.dumps(json.loads(value), indent=2, ensure_ascii=False))
        except (ValueError, RecursionError):
            return printable(str(value))
    if value is None:
        return "unknown" if name in (*UNKNOWN_OF_GIVEN, "dropout") else "not measured"
    if isinstance(value, (tuple, Mapping)):
        return json.dumps(list(value) if isinstance(value, tuple) else dict(value), ensure_ascii=False)
    return printable(str(value))
