"""The pages as files: content, escaping, downloads and troubles; of a large leaderboard, many pages and an index."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from pathlib import Path

import pytest
from many_rows import many_rows
from sample_rows import make_row
from site_samples import EVIL, embedded, embedded_rows, gallery, history, site, text

from benchbench.leaderboard import write_leaderboard
from benchbench.leaderboard.separations import read_separations
from benchbench.report import Board, Contents, Trouble, boards, write_site


def test_board_carries_all_rows_with_values_and_intervals(tmp_path: Path) -> None:
    rows = {row["id"]: row for row in embedded_rows(site(tmp_path) / "index.html")}
    assert len(rows) == 5
    assert rows["cell-at"]["adv_test_accuracy"] == pytest.approx([0.7, 0.65, 0.75])
    assert rows["cell-masked"]["remarks"] == "flag: zero-gradients"
    assert rows["cell-failed"]["remarks"] == "failed: out of memory"
    assert rows["published-1"]["source"] == "NeurIPS 2020, table 3"
    assert "test_mse" not in rows["cell-at"]
    assert {row["id"] for row in rows.values() if row["flagged"]} == {"cell-masked"}
    assert all(row["page"] for row in rows.values())


def test_suite_page_has_training_curves_images_and_separations_of_its_datasets(tmp_path: Path) -> None:
    measured = read_separations(Path(__file__).parents[2] / "leaderboards")
    assert {one.dataset for one in measured} > {"mnist"}
    page = text(site(tmp_path, history=history, gallery=gallery, separations=measured) / "index.html")
    drawn = sum(name.startswith("separation-") for name in embedded(page, "charts"))
    assert drawn == sum(one.dataset == "mnist" for one in measured)
    assert "epochs" in embedded(page, "charts")
    assert page.count('src="data:image/png;base64,') == 2 * 4  # each measured model, before and after


def test_separations_of_one_dataset_are_variations_apart(tmp_path: Path) -> None:
    (one, *_) = read_separations(Path(__file__).parents[2] / "leaderboards")
    measured = [dataclasses.replace(one, dataset="mnist", labels="random", seed=seed) for seed in (0, 1)]
    measured.append(dataclasses.replace(one, dataset="mnist", excluded=(3, 5)))
    page = text(site(tmp_path, separations=measured) / "index.html")
    for label in ("random labels, seed 0", "random labels, seed 1", "its own labels, without training examples 3, 5"):
        assert f"<td>{label}</td>" in page
        assert f"<figcaption>mnist, {label}</figcaption>" in page


def test_no_page_names_another_host(tmp_path: Path) -> None:
    folder = site(tmp_path, history=history, gallery=gallery).parent
    pages = list(folder.rglob("*.html"))
    assert len(pages) == 7
    for page in pages:
        assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", text(page))
        assert "https://" not in text(page)


def test_markup_in_a_leaderboard_stays_text(tmp_path: Path) -> None:
    rows = [
        make_row(cell_id="evil", defense=EVIL, experiment=EVIL, device=EVIL, configuration=json.dumps({EVIL: EVIL})),
        make_row(cell_id="worse", dataset=EVIL, flags=(EVIL,), attack=EVIL, test_lipschitz=1.0, adv_test_accuracy=0.5),
        make_row(cell_id="failed", status="failed", error=EVIL),
    ]
    folder = site(tmp_path, *rows)
    for page in folder.parent.rglob("*.html"):
        assert "<script>window" not in text(page)
        assert "<img src=x" not in text(page)


def test_downloads_are_the_file_itself_and_every_column(tmp_path: Path) -> None:
    folder = site(tmp_path)
    assert (folder / "closer-look.parquet").read_bytes() == (tmp_path / "closer-look.parquet").read_bytes()
    records = list(csv.DictReader(io.StringIO(text(folder / "closer-look.csv"))))
    assert len(records) == 5
    assert {record["cell_id"]: record["adv_test_accuracy"] for record in records}["cell-at"] == "0.7"


def test_troubles_are_named_on_the_index(tmp_path: Path) -> None:
    write_site(Contents(boards=(), troubles=(Trouble(path=Path("x.parquet"), message=f"newer {EVIL}"),)), tmp_path)
    page = text(tmp_path / "index.html")
    assert "x.parquet" in page
    assert "&lt;/script&gt;" in page


def test_interrupted_report_leaves_whole_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = site(tmp_path).parent
    before = {path: path.read_bytes() for path in pages.rglob("*") if path.is_file()}
    write = Path.write_bytes

    def interrupted(path: Path, content: bytes) -> int:
        write(path, content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        site(tmp_path)
    assert before
    assert {path: path.read_bytes() for path in before} == before


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("benchbench.report.site.MOST_ROWS", 20)
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
