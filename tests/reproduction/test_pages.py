"""The reproduction report and the setups: written only from the leaderboard, and deterministic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sample_rows import make_row

from benchbench.leaderboard import FORMATS, published_rows, read_rows, render
from benchbench.leaderboard.separations import read_separations
from benchbench.reproduction import Measured, make_table, write_pages
from benchbench.reproduction.papers import TABLES, PaperTable, find_table
from benchbench.reproduction.verdicts import tally

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def committed() -> Measured:
    folder = ROOT / "leaderboards"
    rows = read_rows(folder / "closer-look.parquet")
    return Measured(suite="closer-look", rows=rows, separations=read_separations(folder))


@pytest.mark.parametrize("paper_table", TABLES, ids=lambda table: f"{table.paper}-{table.number}")
def test_every_table_comes_out_in_every_format(paper_table: PaperTable, committed: Measured) -> None:
    table = make_table(paper_table, committed)
    assert f"Table {paper_table.number}:" in table.title
    assert all(len(line.entries) == len(table.columns) for line in table.lines)
    for format in FORMATS:
        assert render(table, format).strip()


def test_setups_of_the_suite_are_those_of_the_papers(committed: Measured) -> None:
    for paper, number in (("neurips2020", "5"), ("neurips2020", "7"), ("arxiv-v1", "15")):
        given = tally(make_table(find_table(paper, number), committed))
        assert given["differs"] == 0
        assert given["agrees exactly"] >= 21


@pytest.mark.parametrize("paper_table", TABLES, ids=lambda table: f"{table.paper}-{table.number}")
def test_every_published_number_is_counted_once(paper_table: PaperTable, committed: Measured) -> None:
    table = make_table(paper_table, committed)
    alone = make_table(paper_table, Measured(suite="closer-look", rows=published_rows()))
    assert tally(table).total() == tally(alone).total() > 0


def test_the_42_numbers_of_the_small_staircase_are_counted_as_42(committed: Measured) -> None:
    given = tally(make_table(find_table("arxiv-v1", "1"), committed))
    assert given == {"agrees exactly": 32, "differs": 10}


def test_committed_staircase_rows_settle_which_llr_table_8_shows(committed: Measured, tmp_path: Path) -> None:
    write_pages(tmp_path, committed)
    page = (tmp_path / "arxiv-v1-table-8.md").read_text()
    assert "llr (variant=released): 6 of 6 numbers agree" in page
    assert "llr (variant=equation): 3 of 6 numbers agree" in page


def test_pages_cover_both_papers_and_are_the_same_each_time(committed: Measured, tmp_path: Path) -> None:
    first = write_pages(tmp_path / "first", committed)
    again = write_pages(tmp_path / "again", committed)
    assert len(first) == len(TABLES) + 3  # Lipschitz constants, findings and contents
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    contents = first[-1].read_text()
    assert all(f"({path.name})" in contents for path in first[:-1])


def test_pages_in_the_repository_are_those_that_the_command_writes(committed: Measured, tmp_path: Path) -> None:
    written = {path.name for path in write_pages(tmp_path, committed)}
    assert {path.name for path in (ROOT / "docs" / "reproduction").glob("*.md")} == written


def test_without_measurements_the_pages_say_so(tmp_path: Path) -> None:
    write_pages(tmp_path, Measured(suite="closer-look", rows=published_rows()))
    page = (tmp_path / "neurips2020-table-2.md").read_text()
    assert "Nothing yet." in page
    assert "this is open" in page
    assert "not run 120" in page


def test_pages_state_budget_device_and_time(tmp_path: Path, committed: Measured) -> None:
    write_pages(tmp_path, committed)
    page = (tmp_path / "arxiv-v1-table-1.md").read_text()
    what: Any = next(line for line in page.splitlines() if line.startswith("- paper profile, staircase"))
    assert "40 training and 10,000 test examples, fitted without epochs, seed 0, float64 on" in what
    assert "s of training and" in what


def test_runs_that_differ_in_seed_and_commit_alone_are_one_line_of_what_was_run(tmp_path: Path) -> None:
    rows = [
        make_row(cell_id=f"run-{seed}", model_id=f"run-{seed}", seed=seed, git_commit=commit, train_seconds=10.0)
        for seed, commit in enumerate(("a" * 40, "b" * 40))
    ]
    write_pages(tmp_path, Measured(suite="closer-look", rows=[*published_rows(), *rows]))
    (what,) = [line for line in (tmp_path / "neurips2020-table-2.md").read_text().splitlines() if "examples, " in line][
        :1
    ]
    assert "seeds 0, 1" in what
    assert "commits aaaaaaaaaaaa, bbbbbbbbbbbb: 2 rows, 20 s of training" in what
