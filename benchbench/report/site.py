"""Renders and writes the pages."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from benchbench.atomic import write_bytes_atomically
from benchbench.escaping import printable
from benchbench.figures.of_suite import SUITE_FIGURES, suite_charts
from benchbench.figures.points import Measured
from benchbench.leaderboard import names
from benchbench.leaderboard.clearing import share_doubts
from benchbench.leaderboard.separations import MeasuredSeparation, separation_label
from benchbench.records import Row, Rows
from benchbench.records.disk import read_bytes
from benchbench.report.boards import MOST_ROWS, Part, board_csv, board_data, choices, packed, parts, row_texts
from benchbench.report.charts import plotting_runtime, separation_chart
from benchbench.report.contents import Board, Contents, Gallery
from benchbench.report.pictures import picture
from benchbench.report.ranked import method_spreads, ranked_boards
from benchbench.report.rowpage import Relatives, row_page

if TYPE_CHECKING:
    from benchbench.training.checkpoint import EpochRecord

ASSETS = ("style.css", "filters.js", "board.js", "pages.js", "row.js", "charts.js")
RUNTIME = "vega.js"
IN_GALLERY = 24  # models whose first image is on the suite's page


def write_site(contents: Contents, out: Path) -> list[Path]:
    """Write all pages into a folder; returns its ``index.html`` and the page of each suite."""
    _write_assets(out / "assets")
    pages = [_write_board(board, contents, out / board.suite) for board in contents.boards]
    index = _render(
        "index.html",
        root=".",
        title="Leaderboards",
        boards=[(board, _counts(board)) for board in contents.boards],
        troubles=contents.troubles,
        **_separations(contents.separations),
    )
    _write(out / "index.html", index)
    return [out / "index.html", *pages]


def _write_board(board: Board, contents: Contents, folder: Path) -> Path:
    rows = share_doubts(board.rows)
    own_page = frozenset(row.cell_id for row in (board.rows if board.detailed is None else board.detailed))
    detailed = rows.where(rows.having("cell_id", *own_page))
    curves, gallery = _write_rows(detailed, contents, board, folder / "rows")
    charts = suite_charts(Measured(rows=detailed, contenders=board.contenders, histories=curves))
    plots = [(name, SUITE_FIGURES[name]) for name in charts]
    datasets = {dataset for (dataset,) in rows.distinct("dataset")[0]}
    separations = _separations([one for one in contents.separations if one.dataset.partition(" ")[0] in datasets])
    charts |= separations["separation_charts"]
    pages = list(_write_parts(board, parts(rows, own_page), folder)) if len(rows) > MOST_ROWS else []
    page = _render(
        "board.html",
        root="..",
        title=board.suite,
        board=board,
        pages=pages,
        choices=choices(pages),
        data=packed(board_data(list(rows))) if not pages else None,
        charts=charts,
        plots=plots,
        sections=ranked_boards(board),
        names=names,
        spreads=method_spreads(board),
        gallery=gallery,
        **_counts(board),
        **separations,
    )
    if not pages:
        _write(folder / f"{board.suite}.csv", board_csv(board.rows).encode())
    _write(folder / f"{board.suite}.parquet", read_bytes(board.path) or b"")
    _write(folder / "index.html", page)
    return folder / "index.html"


def _write_parts(board: Board, found: Iterable[Part], folder: Path) -> Iterator[Part]:
    """Write the pages of a large board; yields each without its rows, for the index."""
    for part in found:
        title = f"{board.suite}, rows {part.first:,} to {part.last:,}"
        _write(folder / part.href, _render("part.html", root="..", title=title, board=board, data=part.data))
        yield part.indexed()


def _counts(board: Board) -> dict[str, object]:
    """What the pages say of all rows of a board."""
    kinds = Rows.of(board.rows).distinct("source", "profile", "dataset")
    measured = sum(kinds[0][place][0] == "measured" for place in kinds[1].tolist())
    return {
        "measured": measured,
        "published": len(board.rows) - measured,
        "profiles": sorted({profile for source, profile, _ in kinds[0] if source == "measured"}),
        "datasets": sorted({dataset for _, _, dataset in kinds[0]}),
    }


def _write_rows(
    rows: Rows, contents: Contents, board: Board, folder: Path
) -> tuple[list[tuple[Row, Sequence[EpochRecord]]], list[dict[str, object]]]:
    """Write each row's page; return training histories, and pictures of the first models."""
    histories: dict[str, tuple[Row, Sequence[EpochRecord]]] = {}
    pictures: dict[str, dict[str, object]] = {}
    relatives = Relatives(rows)
    for row in rows:
        measured = row.source == "measured"
        if measured and row.model_id not in histories:
            histories[row.model_id] = (row, contents.history(row))
        gallery = contents.gallery(row) if measured else Gallery()
        if gallery.specimens and row.model_id not in pictures and len(pictures) < IN_GALLERY:
            pictures[row.model_id] = {**picture(gallery.specimens[0]), "row": row, "texts": row_texts(row)}
        history = histories[row.model_id][1] if measured else ()
        page = row_page(row, relatives, history, gallery, board.path)
        _write(folder / f"{row.cell_id}.html", _render("row.html", root="../..", **page))
    return list(histories.values()), list(pictures.values())


def _separations(measured: Sequence[MeasuredSeparation]) -> dict[str, Any]:
    """The template's variables for the table and histograms of separations."""
    charts = {f"separation-{number}": separation_chart(one) for number, one in enumerate(measured)}
    return {
        "separations": [
            {"title": f"{m.dataset}, {separation_label(m)}", "id": name} for name, m in zip(charts, measured)
        ],
        "separation_rows": [(one, separation_label(one)) for one in measured],
        "separation_charts": charts,
    }


def _write(path: Path, content: bytes) -> None:
    write_bytes_atomically(path, content, durable=False)  # flushing thousands of pages to the disk would take minutes


def _render(template: str, **values: object) -> bytes:
    return _environment().get_template(f"{template}.j2").render(**values).encode()


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("benchbench.report", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        # text from files may have marks of direction, which would affect the text beside it
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    return environment


def _write_assets(folder: Path) -> None:
    source = files("benchbench.report") / "assets"
    for name in ASSETS:
        _write(folder / name, (source / name).read_bytes())
    _write(folder / RUNTIME, plotting_runtime().encode())
