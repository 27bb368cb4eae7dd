"""A suite's leaderboard as data for the page's table, in pages if it is large, and as CSV."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from benchbench.cell.filters import parse_options
from benchbench.cell.model import to_json
from benchbench.escaping import printable
from benchbench.leaderboard import names
from benchbench.leaderboard.challenges import CHALLENGED
from benchbench.leaderboard.formats import csv_text
from benchbench.leaderboard.identity import tell_apart
from benchbench.leaderboard.matching import is_regression
from benchbench.leaderboard.spread import interval_of
from benchbench.records import Row, Rows

Data = dict[str, Any]  # of a page's script, as JSON: columns, rows, setting


@dataclass(frozen=True, kw_only=True)
class TableColumn:
    """One column of the page's table."""

    key: str
    label: str
    kind: Literal["text", "share", "number"] = "text"  # decides how it is shown and sorted
    filtered: bool = False  # whether the reader can choose among its values
    best: Literal["high", "low", ""] = ""  # the good end, which the first click on the heading sorts to the top
    doubtful: bool = False  # whether a failed attack makes it look too good; flagged rows are then sorted last


COLUMNS = (
    TableColumn(key="method", label="Training method"),
    TableColumn(key="dataset", label="Dataset", filtered=True),
    TableColumn(key="architecture", label="Architecture", filtered=True),
    TableColumn(key="variation", label="Variation"),
    TableColumn(key="attack", label="Attack", filtered=True),
    TableColumn(key="threat", label="Threat"),
    TableColumn(key="source", label="Source", filtered=True),
    TableColumn(key="profile", label="Profile", filtered=True),
    TableColumn(key="test_accuracy", label="Test accuracy (%)", kind="share", best="high"),
    TableColumn(
        key="adv_test_accuracy", label="Adversarial test accuracy (%)", kind="share", best="high", doubtful=True
    ),
    TableColumn(key="certified_test_accuracy", label="Certified test accuracy (%)", kind="share", best="high"),
    TableColumn(key="test_lipschitz", label="Test Lipschitzness", kind="number", best="low", doubtful=True),
    TableColumn(key="test_lipschitz_upper", label="Its upper bound", kind="number", best="low"),
    TableColumn(key="gap", label="Gap (%)", kind="share", best="low"),
    TableColumn(key="adv_gap", label="Adversarial gap (%)", kind="share", best="low", doubtful=True),
    TableColumn(key="test_mse", label="Test MSE", kind="number", best="low"),
    TableColumn(key="adv_test_mse", label="Adversarial test MSE", kind="number", best="low", doubtful=True),
    TableColumn(key="mse_gap", label="MSE gap", kind="number", best="low"),
    TableColumn(key="adv_mse_gap", label="Adversarial MSE gap", kind="number", best="low", doubtful=True),
    TableColumn(key="seed", label="Seed", kind="number"),
    TableColumn(key="remarks", label="Remarks"),
)
_SETTING = ("dataset", "architecture", "variation", "threat", "attack", "source", "profile")
_MEASURES = tuple(column.key for column in COLUMNS if column.kind != "text" and column.key != "seed")
_MSE_GAPS = {"mse_gap": "gap", "adv_mse_gap": "adv_gap"}  # of regressions, where they are no shares


def board_data(rows: Sequence[Row]) -> Data:
    """Columns and rows (with shared doubts) for the page's script; measures [value, low, high]."""
    settings = {row.cell_id: _setting(row) for row in rows}
    measured = {settings[row.cell_id] for row in rows if row.source == "measured"}
    texts = _board_texts(rows)
    columns = [c for c in COLUMNS if c.key not in _MEASURES or any(_value(row, c.key) is not None for row in rows)]
    return {
        "columns": [dataclasses.asdict(column) for column in columns],
        "rows": [
            {"id": row.cell_id, "flagged": bool(row.flags), "cells": [_cell(row, column, texts) for column in columns]}
            for row in sorted(rows, key=lambda row: (settings[row.cell_id] not in measured, *_order(row, settings)))
        ],
        "setting": [place for place, column in enumerate(columns) if column.key in _SETTING],
    }


def packed(data: Data) -> Data:
    """`board_data` in few bytes: of each row id, whether flagged, whether it has a page, cells.

    A text stands once in ``texts``, and its number in the cells.
    """
    texts: list[dict[str, int] | None] = [{} if column["kind"] == "text" else None for column in data["columns"]]
    rows = []
    for row in data["rows"]:
        cells = (one if seen is None else seen.setdefault(one, len(seen)) for one, seen in zip(row["cells"], texts))
        rows.append([row["id"], int(row["flagged"]), int(row.get("page", True)), *cells])
    return {**data, "texts": [None if seen is None else list(seen) for seen in texts], "rows": rows}


def _board_texts(rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """Text columns of each row by cell id; the variation of equal rows is extended to differ."""
    texts = [row_texts(row) | {"remarks": ""} for row in rows]
    labels = ["\n".join([*found.values(), str(row.seed)]) for found, row in zip(texts, rows)]
    for found, row, label, extended in zip(texts, rows, labels, tell_apart(labels, rows)):
        found["variation"] = (found["variation"] + extended.removeprefix(label)).removeprefix(", ")
        found["remarks"] = _remarks(row)
    return {row.cell_id: found for row, found in zip(rows, texts)}


def _setting(row: Row) -> tuple[str, ...]:
    """Equal for rows shown together, with all attack variants, which papers do not distinguish."""
    return names.dataset_label(row), row.architecture, training_variation(row), _threat(row), row.attack


def _order(row: Row, settings: Mapping[str, tuple[str, ...]]) -> tuple[object, ...]:
    """Sort key: ours beside the published number of the same setting and method."""
    return (*settings[row.cell_id], names.defense_order(row)[:3], row.source, row.profile, row.seed or 0, row.cell_id)


def _cell(row: Row, column: TableColumn, texts: Mapping[str, Mapping[str, str]]) -> object:
    if column.key in _MEASURES:
        value = _value(row, column.key)
        if value is None:
            return None
        interval = interval_of(row, column.key)
        return [value, None, None] if interval is None else [value, interval.low, interval.high]
    if column.key == "seed":
        return [row.seed, None, None] if row.source == "measured" and row.seed is not None else None
    return printable(texts[row.cell_id][column.key])


def _value(row: Row, key: str) -> float | None:
    name = _MSE_GAPS.get(key, key)
    other = name in _MSE_GAPS.values() and is_regression(row) != (key in _MSE_GAPS)
    value: float | None = None if other else getattr(row, name)
    return value


def row_texts(row: Row) -> dict[str, str]:
    """The text columns of a row."""
    variant = parse_options(row.attack_options).get("variant", "")
    return {
        "method": names.defense_label(row),
        "dataset": names.dataset_label(row),
        "architecture": names.network_label(row),
        "variation": names.joined(
            training_variation(row), f"attack: {variant}" if variant else "", names.searched_in(row)
        ),
        "attack": row.attack,
        "threat": _threat(row),
        "source": source_label(row),
        "profile": row.profile,
        "remarks": _remarks(row),
    }


def _remarks(row: Row) -> str:
    seen = ["trained on the TEST SET, too"] if row.saw_test_set else []
    failed = [f"failed: {row.error}"] if row.status != "ok" else []
    if CHALLENGED in row.extra:
        seen.append(f"challenged: robust accuracy is at most {100 * row.extra[CHALLENGED]:.2f}%")
    return "; ".join([*(f"flag: {flag}" for flag in row.flags), *seen, *failed])


def _threat(row: Row) -> str:
    return f"{row.norm} {names.number(row.epsilon)}"


def training_variation(row: Row) -> str:
    """How a model's training differs from others of its dataset and network: augmentation, ..."""
    size = names.training_size(row) if is_regression(row) else ""  # tells the two staircases apart
    seen = "TEST SET seen" if row.saw_test_set else ""
    own = names.weights_label(row.configuration)
    return names.joined(seen, names.augmentation_label(row), names.dropout_label(row), size, names.trained_in(row), own)


def source_label(row: Row) -> str:
    """``ours``, or the paper and its table."""
    if row.source == "measured":
        return "ours"
    return f"{names.paper_label(row.published_source)}, table {row.published_table}"


def board_csv(rows: Iterable[Row]) -> str:
    """Every column and row as CSV; lists and maps as JSON, empty where not measured."""
    columns = [field.name for field in dataclasses.fields(Row)]
    lines = ([getattr(row, name) for name in columns] for row in rows)
    plain = (str, int, float, type(None))
    return csv_text([columns, *([one if isinstance(one, plain) else to_json(one) for one in line] for line in lines)])


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
    data: Data
    summary: dict[str, str]  # each indexed column in a few words
    texts: Mapping[str, Sequence[str]]  # of each indexed column, all of its rows
    words: str  # what the index's search looks through, in lower case
    radii: str  # of its rows' threats, each after a space but the first
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
            data=packed(data),
            texts=texts,
            summary={key: _few(found) for key, found in texts.items()},
            words="\n".join(["epsilon", *(text.lower() for found in texts.values() for text in found)]),
            radii=" ".join(sorted({threat.split()[-1] for threat in texts["threat"]})),
            cells="".join(f" {row.cell_id[:CELL_DIGITS]}" for row in page),
        )


def choices(found: Iterable[Part]) -> list[dict[str, object]]:
    """The filters of a paged board: key, label and values of each filtered column."""
    pages, filtered = list(found), [column for column in COLUMNS if column.filtered]
    every = {column.key: sorted({text for page in pages for text in page.texts[column.key]}) for column in filtered}
    return [{"key": column.key, "label": column.label, "values": every[column.key]} for column in filtered]


def _few(texts: list[str]) -> str:
    return ", ".join(texts[:_NAMED]) + (f" and {len(texts) - _NAMED:,} more" if len(texts) > _NAMED else "")
