"""Tables in Python: notebooks show them, pandas and polars read them in one call."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pytest
from sample_rows import make_row

import benchbench
from benchbench.errors import StorageError, UsageError
from benchbench.leaderboard import frames, write_leaderboard
from benchbench.leaderboard.frames import Listing


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A leaderboard of two methods, one of them flagged."""
    rows = [
        make_row(cell_id="a", defense="natural", adv_test_accuracy=0.25, flags=("half-broken", "zero-gradients")),
        make_row(cell_id="b", model_id="b", defense="at", adv_test_accuracy=0.75, extra={"noise": 0.5}),
    ]
    write_leaderboard(tmp_path / "made.parquet", rows)
    return tmp_path / "made.parquet"


def test_records_are_those_of_the_json_document(board: Path) -> None:
    made = benchbench.table(board, extra=["noise"])
    assert [record["defense"] for record in made.records] == ["Natural", "AT"]
    assert {record["cell_id"]: record.get("flags", []) for record in made.records} == {
        "a": ["half-broken", "zero-gradients"],
        "b": [],
    }
    assert {record["noise"] for record in made.records} == {None, 0.5}
    assert {record["dataset"] for record in made.records} == {"mnist"}
    (document,) = json.loads(json.dumps(made.document))
    assert [row["cell_id"] for row in document["groups"][0]["rows"]] == ["a", "b"]


def test_a_table_is_one_arrow_stream(board: Path) -> None:
    made = benchbench.table(str(board))
    read = pa.table(made)  # what polars.DataFrame and others do
    assert read.column("adv_test_accuracy").type == pa.float64()
    assert sorted(read.column("adv_test_accuracy").to_pylist()) == [0.25, 0.75]
    assert read.equals(made.to_arrow())
    assert pa.table(benchbench.read_leaderboard(board)).num_rows == 2


def test_a_column_of_texts_and_numbers_holds_texts() -> None:
    made = Listing(sheets=(), records=[{"a": 1.0}, {"a": "x", "b": None}, {"a": None}], document=None)
    assert made.to_arrow().column("a").to_pylist() == ["1.0", "x", None]
    assert Listing(sheets=(), records=[], document=None).to_arrow().num_rows == 0


@pytest.mark.skipif(not find_spec("pandas"), reason="pandas is not installed")
def test_pandas_reads_it(board: Path) -> None:
    frame = benchbench.table(board).to_pandas()
    assert sorted(frame["adv_test_accuracy"]) == [0.25, 0.75]
    assert len(benchbench.read_leaderboard(board).to_pandas()) == 2


@pytest.mark.skipif(not find_spec("polars"), reason="polars is not installed")
def test_polars_reads_it(board: Path) -> None:
    import polars

    assert polars.DataFrame(benchbench.table(board))["adv_test_accuracy"].sort().to_list() == [0.25, 0.75]
    assert polars.DataFrame(benchbench.read_leaderboard(board)).height == 2


def test_table_shows_itself_in_a_few_lines_and_as_html(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = benchbench.table(board)
    shown = repr(made).splitlines()
    assert shown[0].startswith("closer-look: quick profile: mnist, cnn2")
    assert any(line.startswith("Natural") for line in shown)
    assert made._repr_html_().count("<tr>") == 3  # headings and two lines
    monkeypatch.setattr(frames, "MOST_LINES", 1)
    assert made._repr_html_().count("<tr>") == 2
    assert "and 1 more" in made._repr_html_()
    many = Listing(sheets=made.sheets * 5, records=[], document=None)
    assert repr(many).endswith("and 3 more tables")


def test_published_numbers_are_there_without_any_run(tmp_path: Path) -> None:
    made = benchbench.table("closer-look", leaderboards=tmp_path)
    assert {record["source"] for record in made.records} == {"published"}
    numbered = benchbench.table("closer-look", number=2, leaderboards=tmp_path)
    assert "Table 2" in numbered.sheets[0].title


def test_mistakes_are_named(board: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no leaderboard"):
        benchbench.table("none", leaderboards=tmp_path)
    with pytest.raises(UsageError, match="no row has the profile 'quik'"):
        benchbench.table(board, profile="quik")
    with pytest.raises(UsageError, match="did you mean 'noise'"):
        benchbench.table(board, extra=["noize"])
