"""Text formats of tables: exact numbers, and every name escaped."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_processes import EXHAUSTIVE
from sample_rows import make_row

from benchbench.errors import UnknownNameError
from benchbench.leaderboard import FORMATS, Table, paper_table, render
from benchbench.leaderboard.formats import json_pieces

HOSTILE = '<script>alert(1)</script>|a & b_c $x^2$ 50% #1 ~ \\input{/etc/passwd} **x** `y` [z](u) "q"'


def _table(name: str = "mart", **columns: object) -> Table:
    rows = [
        make_row(cell_id="aa", defense="natural", test_accuracy=0.9, test_accuracy_low=0.8, test_accuracy_high=0.95),
        make_row(cell_id="bb", defense=name, test_accuracy=1 / 3, **columns),
    ]
    return paper_table(rows)


def test_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="markdown"):
        render(_table(), "markdwon")


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_table_without_rows_renders(format: str) -> None:
    assert render(paper_table([]), format).endswith("\n")


def test_markdown_has_one_line_per_row_and_bold_bests() -> None:
    lines = render(_table(), "markdown").splitlines()
    assert lines[0] == "## closer-look: quick profile"
    (natural,) = [line for line in lines if line.startswith("| Natural")]
    assert [cell.strip() for cell in natural.strip("|").split("|")] == ["Natural", "-", "**90.00**", "-", "-", "-", "-"]


def test_markdown_cells_stay_in_their_cells() -> None:
    lines = [line for line in render(_table(HOSTILE), "markdown").splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {8}
    assert "<script>" not in "\n".join(lines)


def test_csv_holds_unrounded_fractions_with_setting_and_bounds() -> None:
    natural, other = csv.DictReader(io.StringIO(render(_table(), "csv")))
    assert (natural["dataset"], natural["profile"], natural["defense"]) == ("mnist", "quick", "Natural")
    assert (natural["test_accuracy_low"], natural["test_accuracy_high"]) == ("0.8", "0.95")
    assert float(other["test_accuracy"]) == 1 / 3
    assert other["gap"] == ""
    assert (other["source"], other["status"], other["cell_id"]) == ("measured", "ok", "bb")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_csv_text_is_no_formula(name: str) -> None:
    _, other = sorted(csv.DictReader(io.StringIO(render(_table(name, gap=-0.5), "csv"))), key=lambda r: r["cell_id"])
    assert other["defense"] == f"'{name}"
    assert other["gap"] == "-0.5"


def test_json_holds_values_bests_and_intervals() -> None:
    document = json.loads(render(_table(), "json"))
    (group,) = document["groups"]
    natural = group["rows"][0]
    assert group["setting"]["n_test"] == 200
    assert (natural["test_accuracy"], natural["best"]) == (0.9, ["test_accuracy"])
    assert natural["intervals"] == {"test_accuracy": [0.8, 0.95]}
    assert natural["gap"] is None


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.opened.append(tag)


def test_html_shows_names_as_text() -> None:
    text = render(_table(HOSTILE, flags=(HOSTILE,), attack=HOSTILE), "html")
    parser = _Tags()
    parser.feed(text)
    assert set(parser.opened) <= {"h2", "table", "caption", "thead", "tbody", "tr", "th", "td", "strong", "ul", "li"}
    assert parser.opened.count("table") == 2
    assert parser.opened.count("tr") == 4


@settings(max_examples=100 if EXHAUSTIVE else 20)
@given(st.text(max_size=40))
def test_any_name_renders_in_every_format(name: str) -> None:
    for format in FORMATS:
        assert render(_table(name), format)


@pytest.mark.parametrize("depth", range(6))
def test_json_in_pieces_means_the_same_at_any_depth(depth: int) -> None:
    value = [{"a": [], "b": {}, "c\n": ["\u2028", {"d": [1.5, None, True]}], "e": {"f": [[1], [2, 3]]}}, [], "g"]
    assert json.loads("".join(json_pieces(value, depth))) == value


def test_json_of_numbers_that_are_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        list(json_pieces([float("nan")], 1))
