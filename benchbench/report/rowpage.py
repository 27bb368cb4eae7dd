"""What the page of a row shows, for its template."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchbench.cell.filters import parse_options
from benchbench.escaping import printable, printable_json
from benchbench.leaderboard.extras import extras_of
from benchbench.leaderboard.names import attack_label
from benchbench.records import Row
from benchbench.report.boards import row_texts
from benchbench.report.charts import radii_chart, training_chart
from benchbench.report.contents import Gallery
from benchbench.report.pictures import picture
from benchbench.report.related import Relatives, bibtex_of, challenges_of, commands_of

if TYPE_CHECKING:
    from benchbench.training.checkpoint import EpochRecord

_JSON_COLUMNS = ("configuration", "versions", "defense_options", "architecture_options", "attack_options")


def row_page(
    row: Row, relatives: Relatives, history: Sequence[EpochRecord], gallery: Gallery, board: Path
) -> dict[str, Any]:
    """The template's variables for a row of the leaderboard file `board`."""
    texts = row_texts(row)
    charts = {"training": training_chart(history), "radii": radii_chart(relatives.radii_of(row))}
    return {
        "title": f"{texts['method']} on {row.dataset}, {row.attack}",
        "row": row,
        "texts": texts,
        "columns": {f.name: (_shown(row, f.name), f.metadata["description"]) for f in dataclasses.fields(Row)},
        "extras": extras_of(row),
        "charts": {name: chart for name, chart in charts.items() if chart is not None},
        "gallery": gallery,
        "pictures": [picture(specimen) for specimen in gallery.specimens],
        "attacks": [
            (one, attack_label(one.attack, parse_options(one.attack_options)), row_texts(one)["remarks"])
            for one in relatives.attacks_on(row)
        ],
        "challenged": challenges_of(row, board),
        "commands": commands_of(row),
        "bibtex": bibtex_of(row),
    }


def _shown(row: Row, name: str) -> str:
    """A column's value as text, JSON indented."""
    value = getattr(row, name)
    if name in _JSON_COLUMNS:
        try:
            return printable_json(json.dumps(json.loads(value), indent=2, ensure_ascii=False))
        except (ValueError, RecursionError):
            return printable(str(value))
    if value is None:
        return "not measured"
    if isinstance(value, (tuple, Mapping)):
        return json.dumps(list(value) if isinstance(value, tuple) else dict(value), ensure_ascii=False)
    return printable(str(value))
