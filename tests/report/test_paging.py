"""Pages of a large leaderboard: a bounded number of rows each, an index, and no dead links."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from many_rows import many_rows
from sample_rows import make_row
from site_samples import embedded_rows

from benchbench.leaderboard import write_leaderboard
from benchbench.records import Rows
from benchbench.report import Board, Contents, boards, gathering, site, write_site
from benchbench.report.gathering import write_report
from benchbench.settings import find_folders


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(site, "MOST_ROWS", 20)
    monkeypatch.setattr(boards, "ROWS_A_PAGE", 30)
    path = tmp_path / "closer-look.parquet"
    rows = write_leaderboard(path, many_rows(100))
    write_site(Contents(boards=(Board(path=path, rows=rows, detailed=rows[:5]),)), tmp_path / "site")
    return tmp_path / "site" / "closer-look"


def test_each_row_is_on_one_page_of_a_bounded_number(pages: Path) -> None:
    found = [embedded_rows(page) for page in sorted(pages.glob("page-*.html"))]
    assert [len(rows) for rows in found] == [30, 30, 30, 10]
    assert len({row["id"] for rows in found for row in rows}) == 100
    assert not (pages / "closer-look.csv").exists()
    assert (pages / "closer-look.parquet").exists()


def test_rows_have_links_only_where_they_have_pages(pages: Path) -> None:
    linked = {row["id"] for page in pages.glob("page-*.html") for row in embedded_rows(page) if row["page"]}
    assert linked == {path.stem for path in (pages / "rows").glob("*.html")}
    assert len(linked) == 5


def test_the_index_names_each_page_with_its_words_and_cells(pages: Path) -> None:
    index = (pages / "index.html").read_text()
    assert embedded_rows(pages / "index.html") == []
    assert re.findall(r'<a href="(page-\d.html)">([\d,]+ to [\d,]+)</a>', index) == [
        ("page-1.html", "1 to 30"),
        ("page-2.html", "31 to 60"),
        ("page-3.html", "61 to 90"),
        ("page-4.html", "91 to 100"),
    ]
    assert sum(cells.count(" 000000") for cells in re.findall(r'data-cells="([^"]*)"', index)) == 100
    assert "trades (beta=6)" in index
    assert "100 measured and 0 published rows" in index


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
