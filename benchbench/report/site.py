"""Renders and writes the pages."""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from PIL import Image

from benchbench.atomic import write_bytes_atomically
from benchbench.cell.model import UNKNOWN_OF_GIVEN
from benchbench.escaping import printable, printable_json
from benchbench.figures.of_suite import SUITE_FIGURES, Measured, suite_charts
from benchbench.leaderboard.clearing import share_doubts
from benchbench.leaderboard.extras import extras_of
from benchbench.leaderboard.separations import MeasuredSeparation, separation_label
from benchbench.records import Row, Rows
from benchbench.records.arrays import Array
from benchbench.records.cards import card_facts
from benchbench.records.disk import read_bytes
from benchbench.report.boards import MOST_ROWS, Part, board_csv, board_data, packed, parts, row_texts
from benchbench.report.charts import plotting_runtime, separation_chart
from benchbench.report.contents import Board, Contents, Gallery, Specimen
from benchbench.report.rankings import method_spreads, rankings

if TYPE_CHECKING:
    from benchbench.training.checkpoint import EpochRecord

ASSETS = ("style.css", "board.js", "pages.js", "charts.js")
RUNTIME = "vega.js"
IN_GALLERY = 24  # models whose first image is on the suite's page
_JSON_COLUMNS = ("configuration", "versions", "defense_options", "architecture_options", "attack_options", "card")


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
    curves, gallery = _write_rows(detailed, contents, folder / "rows")
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
        data=packed(board_data(list(rows))) if not pages else None,
        charts=charts,
        plots=plots,
        rankings=rankings(board),
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


def _counts(board: Board) -> dict[str, Any]:
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
    rows: Iterable[Row], contents: Contents, folder: Path
) -> tuple[list[tuple[Row, Sequence[EpochRecord]]], list[dict[str, Any]]]:
    """Write each row's page; return training histories, and pictures of the first models."""
    histories: dict[str, tuple[Row, Sequence[EpochRecord]]] = {}
    pictures: dict[str, dict[str, Any]] = {}
    for row in rows:
        measured = row.source == "measured"
        if measured and row.model_id not in histories:
            histories[row.model_id] = (row, contents.history(row))
        gallery = contents.gallery(row) if measured else Gallery()
        if gallery.specimens and row.model_id not in pictures and len(pictures) < IN_GALLERY:
            pictures[row.model_id] = {**_picture(gallery.specimens[0]), "row": row, "texts": row_texts(row)}
        history = histories[row.model_id][1] if measured else ()
        _write_row(row, history, gallery, folder / f"{row.cell_id}.html")
    return list(histories.values()), list(pictures.values())


def _write_row(row: Row, history: Sequence[EpochRecord], gallery: Gallery, path: Path) -> None:
    columns = {f.name: (_shown(row, f.name), f.metadata["description"]) for f in dataclasses.fields(Row)}
    texts = row_texts(row)
    page = _render(
        "row.html",
        root="../..",
        title=f"{texts['method']} on {row.dataset}, {row.attack}",
        row=row,
        texts=texts,
        columns=columns,
        extras=extras_of(row),
        card={name.replace("_", " "): fact for name, fact in card_facts(row.card).items()},
        chart=suite_charts(Measured(rows=(), histories=[(row, history)])).get("epochs"),
        gallery=gallery,
        pictures=[_picture(specimen) for specimen in gallery.specimens],
    )
    _write(path, page)


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


def _picture(specimen: Specimen) -> dict[str, Any]:
    clean = None if specimen.clean is None else png_address(specimen.clean)
    return {"specimen": specimen, "clean": clean, "adversarial": png_address(specimen.adversarial)}


def png_address(pixels: Array) -> str:
    """The ``data:`` address of an image: float (C, H, W) in [0, 1], of one channel or three."""
    scaled = (np.clip(np.nan_to_num(pixels), 0.0, 1.0) * 255).round().astype(np.uint8)
    image = Image.fromarray(scaled[0] if len(scaled) == 1 else scaled.transpose(1, 2, 0))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _shown(row: Row, name: str) -> str:
    """A column's value as text, JSON indented."""
    value = getattr(row, name)
    if name in _JSON_COLUMNS and value:
        try:
            return printable_json(json.dumps(json.loads(value), indent=2, ensure_ascii=False))
        except (ValueError, RecursionError):
            return printable(str(value))
    if value is None:
        return "unknown" if name in UNKNOWN_OF_GIVEN else "not measured"
    if isinstance(value, (tuple, Mapping)):
        return json.dumps(list(value) if isinstance(value, tuple) else dict(value), ensure_ascii=False)
    return printable(str(value))


def _write(path: Path, content: bytes) -> None:
    write_bytes_atomically(path, content, durable=False)  # flushing thousands of pages to the disk would take minutes


def _render(template: str, **values: Any) -> bytes:
    return _environment().get_template(f"{template}.j2").render(**values).encode()


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("benchbench.report", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        # text from files may have marks of direction, which would affect the text beside it
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _write_assets(folder: Path) -> None:
    source = files("benchbench.report") / "assets"
    for name in ASSETS:
        _write(folder / name, (source / name).read_bytes())
    _write(folder / RUNTIME, plotting_runtime().encode())
