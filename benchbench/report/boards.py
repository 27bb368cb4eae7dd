"""The leaderboard of a suite as data for the page's table: columns with their units, rows as lists of plain values."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchbench.cell.model import to_json
from benchbench.leaderboard.clearing import share_doubts
from benchbench.leaderboard.identity import tell_apart
from benchbench.leaderboard.matching import is_regression
from benchbench.leaderboard.names import (
    component_label,
    dataset_label,
    defense_label,
    defense_order,
    number,
    paper_label,
    parse_options,
    trained_in,
)
from benchbench.records import Row


@dataclass(frozen=True, kw_only=True)
class TableColumn:
    """One column of the page's table.

    Attributes:
        kind: how it is shown and sorted.
        filtered: whether the reader can choose among its values.
        best: which end is good, for the first click on the heading.
        doubtful: whether a failed attack makes it look too good: sorted by it, flagged rows come after all others.
    """

    key: str
    label: str
    kind: Literal["text", "share", "number"] = "text"
    filtered: bool = False
    best: Literal["high", "low", ""] = ""
    doubtful: bool = False


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
    TableColumn(key="test_lipschitz", label="Test Lipschitzness", kind="number", best="low", doubtful=True),
    TableColumn(key="gap", label="Gap (%)", kind="share", best="low"),
    TableColumn(key="adv_gap", label="Adversarial gap (%)", kind="share", best="low", doubtful=True),
    TableColumn(key="test_mse", label="Test MSE", kind="number", best="low"),
    TableColumn(key="adv_test_mse", label="Adversarial test MSE", kind="number", best="low", doubtful=True),
    TableColumn(key="seed", label="Seed", kind="number"),
    TableColumn(key="remarks", label="Remarks"),
)
_SETTING = ("dataset", "architecture", "variation", "threat", "attack", "source", "profile")
_MEASURES = tuple(column.key for column in COLUMNS if column.kind != "text" and column.key != "seed")


def board_data(rows: Sequence[Row]) -> dict[str, object]:
    """Columns and rows for the page's script; columns that no row fills are left out, settings that we measured come first.

    A measure is [value, low, high], with nulls where there is no interval, or null; accuracies are fractions.
    """
    rows = share_doubts(rows)
    measured = {_setting(row) for row in rows if row.source == "measured"}
    texts = _board_texts(rows)
    ordered = sorted(rows, key=lambda row: (_setting(row) not in measured, *_order(row)))
    columns = [c for c in COLUMNS if c.key not in _MEASURES or any(getattr(row, c.key) is not None for row in rows)]
    return {
        "columns": [dataclasses.asdict(column) for column in columns],
        "rows": [
            {"id": row.cell_id, "flagged": bool(row.flags), "cells": [_cell(row, column, texts) for column in columns]}
            for row in ordered
        ],
        "setting": [place for place, column in enumerate(columns) if column.key in _SETTING],
    }


def _board_texts(rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """The text columns of each row, by cell; where these are equal, the variation also says what tells the rows apart."""
    texts = [row_texts(row) | {"remarks": ""} for row in rows]
    labels = ["\n".join([*found.values(), str(row.seed)]) for found, row in zip(texts, rows)]
    for found, row, label, extended in zip(texts, rows, labels, tell_apart(labels, rows)):
        found["variation"] = (found["variation"] + extended.removeprefix(label)).removeprefix(", ")
        found["remarks"] = _remarks(row)
    return {row.cell_id: found for row, found in zip(rows, texts)}


def _setting(row: Row) -> tuple[str, ...]:
    """Equal for rows that stand together; variants of an attack, which papers do not tell apart, do."""
    return (
        dataset_label(row),
        row.architecture,
        training_variation(row),
        f"{row.norm} {number(row.epsilon)}",
        row.attack,
    )


def _order(row: Row) -> tuple[object, ...]:
    """Ours beside the published number of the same setting and method."""
    return (*_setting(row), defense_order(row)[:3], row.source, row.profile, row.seed, row.cell_id)


def _cell(row: Row, column: TableColumn, texts: Mapping[str, Mapping[str, str]]) -> object:
    if column.key in _MEASURES:
        value = getattr(row, column.key)
        if value is None:
            return None
        bounds = (getattr(row, f"{column.key}_{end}", row.extra.get(f"{column.key}_{end}")) for end in ("low", "high"))
        return [value, *bounds]
    if column.key == "seed":
        return [row.seed, None, None] if row.source == "measured" else None
    return texts[row.cell_id][column.key]


def row_texts(row: Row) -> dict[str, str]:
    """The text columns of a row."""
    return {
        "method": defense_label(row),
        "dataset": dataset_label(row),
        "architecture": component_label(row.architecture, _shape(row)),
        "variation": ", ".join(part for part in (training_variation(row), _attack_variation(row)) if part),
        "attack": row.attack,
        "threat": f"{row.norm} {number(row.epsilon)}",
        "source": source_label(row),
        "profile": row.profile,
        "remarks": _remarks(row),
    }


def _remarks(row: Row) -> str:
    seen = "trained on the TEST SET, too" if row.trained_on != "train" else ""
    failed = f"failed: {row.error}" if row.status != "ok" else ""
    return "; ".join(part for part in (*(f"flag: {flag}" for flag in row.flags), seen, failed) if part)


def _shape(row: Row) -> dict[str, object]:
    """Options of the architecture but the dropout, which is shown as a variation."""
    return {name: value for name, value in parse_options(row.architecture_options).items() if name != "dropout"}


def training_variation(row: Row) -> str:
    """What tells a model's training from others of its dataset and architecture: augmentation, dropout, a regression's size."""
    augmentation = row.augmentation if row.augmentation != "none" else ""
    dropout = f"dropout {number(row.dropout)}" if row.dropout else ""
    size = f"{row.n_train:,} training examples" if is_regression(row) else ""  # tells the two staircases apart
    seen = "TEST SET seen" if row.trained_on != "train" else ""
    return ", ".join(part for part in (seen, augmentation, dropout, size, trained_in(row)) if part)


def _attack_variation(row: Row) -> str:
    variant = parse_options(row.attack_options).get("variant", "")
    named = f"attack: {variant}" if variant else ""
    return ", ".join(part for part in (named, f"searched in {row.rounding}" if row.rounding else "") if part)


def source_label(row: Row) -> str:
    """``ours``, or the paper and its table."""
    if row.source == "measured":
        return "ours"
    return f"{paper_label(row.published_source)}, table {row.published_table}"


def board_csv(rows: Iterable[Row]) -> str:
    """Every column of every row as CSV; lists and maps as JSON, nothing where a value was not measured.

    Text that a spreadsheet would take for a formula is led by an apostrophe.
    """
    names = [field.name for field in dataclasses.fields(Row)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_plain(getattr(row, name)) for name in names])
    return buffer.getvalue()


def _plain(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
    return value if isinstance(value, (int, float)) else to_json(value)
