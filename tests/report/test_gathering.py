"""What is gathered for pages: which examples are shown, and which rows of a large board."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from sample_rows import make_row

from benchbench.leaderboard import write_leaderboard
from benchbench.records import Rows
from benchbench.report import gathering, site
from benchbench.report.gathering import choose_specimens, write_report
from benchbench.settings import find_folders


def test_broken_examples_are_shown_first_and_some_that_withstood() -> None:
    correct = np.ones(100, dtype=bool)
    robust = np.arange(100) >= 50
    assert choose_specimens(correct, robust) == [*range(9), 50, 51, 52]
    assert choose_specimens(np.zeros(3, dtype=bool), np.zeros(3, dtype=bool)) == [0, 1, 2]


def test_a_large_board_ranks_whole_models_with_evidence_first_then_the_most_robust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "MOST_ROWS", 5)
    rows = Rows.of(
        make_row(cell_id=f"{model}-{attack}", model_id=model, attack=attack, adv_test_accuracy=robust, flags=flags)
        for model, worst, flags in (
            ("weak", 0.1, ()),
            ("flagged", 0.9, ("zero-gradients",)),
            ("best", 0.7, ()),
            ("good", 0.6, ()),
            ("evident", 0.0, ()),
        )
        for attack, robust in (("pgd-10", worst + 0.05), ("mt-20", worst))
    )
    shown = gathering.most_telling(rows, rows.having("cell_id", "evident-mt-20"))
    assert [row.model_id for row in shown] == ["best", "best", "evident", "evident"]  # in the file's order
    path = tmp_path / "boards" / "closer-look.parquet"
    monkeypatch.setattr(site, "MOST_ROWS", 5)
    write_leaderboard(path, rows)
    write_report(tmp_path / "site", find_folders(runs=tmp_path / "runs", leaderboards=path.parent))
    index = (tmp_path / "site" / "closer-look" / "index.html").read_text()
    assert re.findall(r'<td class="number rank">(\d=?)</td><th scope="row"><a href="rows/(\w+)-', index) == [
        ("1=", "best"),  # no intervals tell them apart
        ("1=", "good"),
    ]
    choices = re.search(r'id="choices">(.*?)</script>', index)
    assert choices is not None
    assert {one["key"]: one["values"] for one in json.loads(choices[1])}["attack"] == ["mt-20", "pgd-10"]
