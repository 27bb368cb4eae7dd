"""A large board in pages of a bounded number of rows, and what its index says of each page."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from benchbench.records import Rows
from benchbench.report.boards import board_data

MOST_ROWS = 2_000  # of a board on one page, with a page for each row
ROWS_A_PAGE = 1_000  # of a larger board
_INDEXED = ("method", "dataset", "architecture", "attack", "threat", "source", "profile")
_NAMED = 4  # different texts of a page that the index shows
CELL_DIGITS = 6  # of each cell id, for the index's search


@dataclass(frozen=True, kw_only=True)
class Part:
    """One page: its file, its rows as data, and its line of the index."""

    href: str
    first: int  # number of its first row, from 1; likewise `last`
    last: int
    data: dict[str, Any]
    summary: dict[str, str]  # each indexed column in a few words
    words: str  # what the index's search looks through, in lower case
    cells: str  # the beginnings of the cell ids, each after a space

    def indexed(self) -> Part:
        """The page without its rows, of which the index needs none."""
        return replace(self, data={})


def parts(rows: Rows, with_page: Collection[str]) -> Iterator[Part]:
    """The pages of a board in its file's order; `with_page` are cell ids that have a page each."""
    for number, start in enumerate(range(0, len(rows), ROWS_A_PAGE), start=1):
        page = list(rows[start : start + ROWS_A_PAGE])
        data = board_data(page)
        data["rows"] = [{**row, "page": row["id"] in with_page} for row in data["rows"]]
        places = {column["key"]: place for place, column in enumerate(data["columns"])}
        texts = {key: sorted({row["cells"][places[key]] for row in data["rows"]}) for key in _INDEXED}
        yield Part(
            href=f"page-{number}.html",
            first=start + 1,
            last=start + len(page),
            data=data,
            summary={key: _few(found) for key, found in texts.items()},
            words="\n".join(text.lower() for found in texts.values() for text in found),
            cells="".join(f" {row.cell_id[:CELL_DIGITS]}" for row in page),
        )


def _few(texts: list[str]) -> str:
    return ", ".join(texts[:_NAMED]) + (f" and {len(texts) - _NAMED:,} more" if len(texts) > _NAMED else "")
