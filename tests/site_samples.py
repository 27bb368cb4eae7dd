"""Leaderboards and pages of a few rows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from sample_rows import make_row

from benchbench.leaderboard import write_leaderboard
from benchbench.records import Row
from benchbench.report import Board, Contents, Gallery, Specimen, write_site
from benchbench.training.checkpoint import EpochRecord

EVIL = '</script><script>window.pwned=1</script><img src=x onerror="window.pwned=1">'
ROWS = tuple(
    make_row(
        cell_id=f"cell-{name}",
        model_id=f"model-{name}",
        defense=name,
        test_accuracy=0.9,
        test_accuracy_low=0.85,
        test_accuracy_high=0.95,
        adv_test_accuracy=accuracy,
        adv_test_accuracy_low=accuracy - 0.05,
        adv_test_accuracy_high=accuracy + 0.05,
        test_lipschitz=lipschitz,
        flags=flags,
    )
    for name, accuracy, lipschitz, flags in (
        ("natural", 0.1, 200.0, ()),
        ("at", 0.7, 20.0, ()),
        ("masked", 0.9, 1.0, ("zero-gradients",)),
    )
)
PUBLISHED = make_row(
    cell_id="published-1",
    source="published",
    published_source="neurips2020",
    published_table="3",
    profile="paper",
    defense="at",
    test_accuracy=0.99,
    adv_test_accuracy=0.95,
)
FAILED = make_row(cell_id="cell-failed", defense="gr", status="failed", error="out of memory")


def site(folder: Path, *rows: Row, **contents: Any) -> Path:
    """Write the pages of one leaderboard; returns the folder of its suite's pages."""
    chosen = rows or (*ROWS, PUBLISHED, FAILED)
    path = folder / f"{chosen[0].suite}.parquet"
    write_leaderboard(path, chosen)
    write_site(Contents(boards=(Board(path=path, rows=chosen),), **contents), folder / "site")
    return folder / "site" / chosen[0].suite


def embedded_rows(page: Path) -> list[dict[str, Any]]:
    """The rows in a page's JSON, unpacked as its script does: cells by column, ``id``, ``flagged``, ``page``."""
    found = re.search(r'<script type="application/json" id="rows">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    data = json.loads(found.group(1)) if found else {"columns": [], "texts": [], "rows": []}
    keys = [column["key"] for column in data["columns"]]
    return [
        {name: cell if texts is None else texts[cell] for name, cell, texts in zip(keys, cells, data["texts"])}
        | {"id": cell_id, "flagged": bool(flagged), "page": bool(page)}
        for cell_id, flagged, page, *cells in data["rows"]
    ]


def text(path: Path) -> str:
    """What a page says."""
    return path.read_text(encoding="utf-8")


def embedded(page: str, name: str) -> dict[str, object]:
    """One of the JSON documents in a page's text."""
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return dict(json.loads(found.group(1)))


def history(_: Row) -> list[EpochRecord]:
    """Three epochs."""
    return [
        EpochRecord(epoch=epoch, learning_rate=0.1, loss=1 / epoch, accuracy=1 - 0.5 / epoch) for epoch in (1, 2, 3)
    ]


def gallery(_: Row) -> Gallery:
    """One grey image and what an attack made of it."""
    image = np.full((1, 4, 4), 0.5, dtype=np.float32)
    specimen = Specimen(
        index=7, label="seven", prediction="seven", adversarial_prediction="one", adversarial=image + 0.1, clean=image
    )
    return Gallery(specimens=(specimen,), remark="A remark.")
