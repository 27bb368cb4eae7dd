"""Notes below a table: each says which rows it is about."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner
from sample_rows import make_row

from benchbench.cli import cli
from benchbench.leaderboard import write_leaderboard
from benchbench.leaderboard.notes import row_notes
from benchbench.records import Row

FLAGS = ("zero-gradients",)


def _rows(*columns: dict[str, Any]) -> list[Row]:
    return [make_row(cell_id=f"{place:016x}", seed=place, **one) for place, one in enumerate(columns)]


def test_a_method_with_the_same_flags_everywhere_is_noted_once() -> None:
    assert row_notes(_rows({"flags": FLAGS}, {"flags": FLAGS}, {})) == ("† Natural: zero-gradients",)


def test_a_method_with_several_flags_is_noted_with_what_tells_its_rows_apart() -> None:
    near, far = {"flags": FLAGS, "epsilon": 0.05}, {"flags": ("half-broken",), "epsilon": 0.1}
    first, second = row_notes([make_row(cell_id=f"{place:016x}", **one) for place, one in enumerate((near, far))])
    assert (first.startswith("† Natural"), second.startswith("† Natural")) == (True, True)
    assert "0.05" in first.split(":")[0]
    assert "0.1" in second.split(":")[0]
    assert (first.split(": ")[-1], second.split(": ")[-1]) == ("zero-gradients", "half-broken")


def test_a_note_is_true_of_every_row_that_it_describes() -> None:
    weak, weaker = ("zero-gradients",), ("half-broken", "zero-gradients")
    rows = _rows(
        {"architecture": "cnn1", "flags": weak},
        {"architecture": "cnn2", "flags": weaker},
        {"architecture": "cnn2", "profile": "short", "flags": weak},
    )
    one, other, third = (note.split(": ") for note in sorted(row_notes(rows)))
    assert ("cnn1" in one[0], one[1]) == (True, "zero-gradients")
    assert ("cnn2" in other[0], "quick" in other[0], other[1]) == (True, True, "half-broken, zero-gradients")
    assert ("cnn2" in third[0], "short" in third[0], third[1]) == (True, True, "zero-gradients")


@pytest.mark.parametrize(("length", "expected"), [(200, "x" * 200), (201, "x" * 200 + "...")])
def test_a_long_error_is_cut_visibly(length: int, expected: str) -> None:
    assert row_notes(_rows({"status": "failed", "error": "x" * length})) == (f"‡ failed: Natural: {expected}",)


def test_plain_text_does_not_explain_the_bold_that_it_cannot_show(tmp_path: Any) -> None:
    board = tmp_path / "closer-look.parquet"
    shares = ({"test_accuracy": 0.5, "test_accuracy_low": 0.45, "test_accuracy_high": 0.55}, {"defense": "at"})
    write_leaderboard(board, _rows(*({**shares[0], **one} for one in ({}, shares[1]))))
    plain, marked = (
        CliRunner().invoke(cli, ["table", str(board), *more]).output for more in ([], ["--format=markdown"])
    )
    assert "Bold" not in plain
    assert "Bold" in marked
    assert "**" in marked
