"""Rows as RobustBench's ``model_info`` files: one JSON file for each model and threat."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import benchbench
from benchbench_robustbench.published import DATASETS, NORMS

ATTACK = "autoattack"  # the one that RobustBench ranks by


def export_leaderboard(board: Path, model_info: Path) -> int:
    """Write an entry for each measured row of AutoAttack; return their number.

    Rows on other datasets than RobustBench's are left out.

    Facts come from the row's model card (``evaluate --record --card``); what it does not state is left out. Files are named
    ``DATASET/THREAT/NAME.json``, after the card's title or the training method; equal names get the model's id, and
    further entries of one model, at other radii, the cell's.

    Raises:
        StorageError: `board` is missing, or no leaderboard.
    """
    places = {name: folder for folder, (name, _) in DATASETS.items()}
    threats = {norm: folder for folder, norm in NORMS.items()}
    written: set[Path] = set()
    for row in benchbench.read_leaderboard(board).to_pylist():
        if row["attack"] != ATTACK or row["status"] != "ok" or row["source"] != "measured":
            continue
        if row["dataset"] in places and row["norm"] in threats:
            card = json.loads(row.get("card") or "{}")
            name = re.sub(r"[^A-Za-z0-9]+", "_", str(card.get("title") or row["defense"]))[:80]
            folder = model_info / places[row["dataset"]] / threats[row["norm"]]
            names = (name, f"{name}_{row['model_id'][:8]}", f"{name}_{row['cell_id']}")
            file = next(path for one in names if (path := folder / f"{one}.json") not in written)
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(_entry(row, card, places[row["dataset"]]), indent=2) + "\n", encoding="utf-8")
            written.add(file)
    return len(written)


def _entry(row: Mapping[str, Any], card: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    claimed = card.get("claimed_adv_test_accuracy")
    stated = {"link": card.get("link"), "authors": card.get("authors"), "venue": card.get("paper")}
    return {
        "name": str(card.get("title") or row["defense"]),
        **{name: value for name, value in stated.items() if value is not None},
        **({"additional_data": bool(card["extra_data"])} if "extra_data" in card else {}),
        "number_forward_passes": 1,
        "dataset": dataset,
        "architecture": row["architecture"],
        "eps": _radius(row["epsilon"]),
        "clean_acc": f"{100 * row['test_accuracy']:.2f}",
        **({} if claimed is None else {"reported": f"{100 * claimed:.2f}"}),
        "autoattack_acc": f"{100 * row['adv_test_accuracy']:.2f}",
    }


def _radius(epsilon: float) -> str:
    """A multiple of 1/255 as RobustBench writes it, ``8/255``; other radii as numbers."""
    steps = Fraction(epsilon).limit_denominator(255) * 255
    return f"{steps}/255" if steps.denominator == 1 and abs(epsilon - steps / 255) < 1e-9 else f"{epsilon:g}"
