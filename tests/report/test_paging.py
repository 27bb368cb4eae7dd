"""Pages of a large leaderboard: a bounded number of rows each, an index, and no dead links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from many_rows import many_rows
from site_samples import embedded_rows

from benchbench.leaderboard import write_leaderboard
from benchbench.report import Board, Contents, boards, site, write_site


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
