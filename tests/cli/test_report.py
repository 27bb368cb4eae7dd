"""``benchbench report``: good files are shown beside bad ones, which are named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from sample_rows import make_row
from site_samples import ROWS, embedded_rows

from benchbench.cli import invoke
from benchbench.leaderboard import read_rows, write_leaderboard
from benchbench.leaderboard.separations import read_separations, record_separation


def test_command_shows_good_files_and_rows_beside_bad_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    boards = tmp_path / "boards"
    good = boards / "good.parquet"
    write_leaderboard(good, ROWS)
    (boards / "empty.parquet").write_bytes(b"")
    (boards / "half.parquet").write_bytes(good.read_bytes()[:-50])
    pq.write_table(pa.table({"a": [1]}), boards / "foreign.parquet")
    table = pq.read_table(good)
    newer = {**table.schema.metadata, b"benchbench.schema_version": b"99"}
    pq.write_table(table.replace_schema_metadata(newer), boards / "newer.parquet")
    column = table.schema.get_field_index("test_lipschitz")
    spoilt = table.set_column(column, table.schema.field(column), pa.array([float("nan"), 20.0, 1.0]))
    two = [name if name != "closer-look" else "mixed" for name in spoilt["suite"].to_pylist()]
    two[2] = "another"
    place = table.schema.get_field_index("suite")
    pq.write_table(spoilt.set_column(place, table.schema.field(place), pa.array(two)), boards / "mixed.parquet")
    before = {path: path.read_bytes() for path in boards.iterdir()}
    assert invoke(["report", "--out", str(tmp_path / "site"), "--leaderboards", str(boards)]) == 1
    shown = capsys.readouterr().err
    for name, reason in {"empty": "empty", "half": "truncated", "foreign": "not a benchbench", "newer": "99"}.items():
        assert f"{name}.parquet" in shown
        assert reason in shown
    assert "nan" in shown
    assert "'another'" in shown
    assert max(line.count("empty.parquet") for line in shown.splitlines()) == 1
    assert len(embedded_rows(tmp_path / "site" / "closer-look" / "index.html")) == 3
    assert len(embedded_rows(tmp_path / "site" / "mixed" / "index.html")) == 1
    assert {path: path.read_bytes() for path in boards.iterdir()} == before
    assert read_rows(good)


def test_damaged_separations_are_named_beside_the_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (one, *_) = read_separations(Path(__file__).parents[2] / "leaderboards")
    write_leaderboard(tmp_path / "good.parquet", ROWS)
    record_separation(tmp_path, dataclasses.replace(one, report="{"))
    assert invoke(["report", "--out", str(tmp_path / "site"), "--leaderboards", str(tmp_path)]) == 1
    assert "has no report that can be read" in capsys.readouterr().err
    assert (tmp_path / "site" / "closer-look" / "index.html").exists()


def test_command_without_leaderboards_says_what_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["report", "--out", str(tmp_path / "site"), "--leaderboards", str(tmp_path)]) == 2
    assert "benchbench run" in capsys.readouterr().err


def test_a_suite_is_named_as_for_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boards = tmp_path / "boards"
    write_leaderboard(boards / "closer-look.parquet", [make_row()])
    assert invoke(["report", "closer-look", "--out", str(tmp_path / "site"), "--leaderboards", str(boards)]) == 0
    assert "closer-look" in (tmp_path / "site" / "index.html").read_text()
    assert invoke(["report", "closer-lok", "--out", str(tmp_path / "other"), "--leaderboards", str(boards)]) == 1
    assert f"there is no leaderboard {boards / 'closer-lok.parquet'}" in capsys.readouterr().err
