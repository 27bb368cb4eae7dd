"""Finding models by id or description, and the compare command on them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from contender_samples import contender, outcomes_of, share
from sample_rows import make_row

from benchbench.cli import invoke
from benchbench.errors import UsageError
from benchbench.leaderboard import read_rows, write_leaderboard
from benchbench.leaderboard.choosing import choose, matched
from benchbench.records.arrays import content_digest, write_arrays

MODELS = [
    contender("aa11", ("pgd", share(90)), defense="at"),
    contender("bb22", ("pgd", share(90)), defense="trades", defense_options='{"beta":6.0}'),
    contender("cc33", ("pgd", share(90)), defense="trades", defense_options='{"beta":1.0}'),
    contender("dd44", ("pgd", share(90)), defense="trades", defense_options='{"beta":1.0}', seed=1),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("aa", ["aa11"]),
        ("bb22-pgd", ["bb22"]),
        ("defense=at", ["aa11"]),
        ("defense=trades,beta=6", ["bb22"]),
        ("defense=trades,beta=12/2", ["bb22"]),
        ("dataset=mnist, defense=trades,beta=1", ["cc33", "dd44"]),
    ],
)
def test_model_is_found_under_all_its_seeds(wanted: str, found: list[str]) -> None:
    assert [model.row.model_id for model in choose(MODELS, wanted)] == found


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("zz", "no model"),
        ("defense=trades", "matches 3 models"),
        ("defence=at", "did you mean 'defense'"),
        ("defense=at,", "is no filter"),
    ],
)
def test_what_names_no_single_model_is_refused_with_what_there_is(wanted: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose(MODELS, wanted)
    assert said in str(caught.value)


def test_models_of_two_leaderboards_are_matched_by_configuration_and_seed() -> None:
    other = [contender("ee55", ("pgd", share(80)), defense="trades", defense_options='{"beta":1.0}', seed=1)]
    assert [(one.row.model_id, two.row.model_id) for one, two in matched(MODELS, other)] == [("dd44", "ee55")]


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """Two models with outcomes beside the file, and one without."""
    rows = []
    for name, count in (("at", 90), ("natural", 50)):
        outcomes = outcomes_of(share(count))
        digest = content_digest(outcomes)
        (tmp_path / "closer-look" / "outcomes").mkdir(parents=True, exist_ok=True)
        write_arrays(tmp_path / "closer-look" / "outcomes" / f"{digest}.parquet", outcomes)
        columns = {"defense": name, "adv_test_accuracy": count / 100, "test_accuracy": 1.0, "n_test": 100}
        rows.append(make_row(cell_id=f"{name}-cell", model_id=f"{name}-model", outcomes_digest=digest, **columns))
    rows.append(make_row(cell_id="bare", model_id="bare", outcomes_digest="ab" * 32))
    write_leaderboard(tmp_path / "closer-look.parquet", rows)
    return tmp_path / "closer-look.parquet"


def test_command_compares_models(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["compare", "defense=at", "natural-", "--leaderboards", str(board.parent), "--json"]) == 0
    differences = {d["measure"]: d for d in json.loads(capsys.readouterr().out)["differences"]}
    assert differences["adv_test_accuracy"]["difference"] == pytest.approx(0.4)
    assert differences["adv_test_accuracy"]["significant"]
    assert not differences["test_accuracy"]["significant"]


def test_measured_separations_beside_the_leaderboards_are_no_leaderboard(board: Path) -> None:
    (board.parent / "separation.parquet").write_bytes(b"PAR1 of another kind")
    assert invoke(["compare", "defense=at", "natural-", "--leaderboards", str(board.parent)]) == 0


def test_command_names_the_flags_of_the_models_that_it_compares(
    board: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        dataclasses.replace(row, flags=("zero-gradients",)) if row.defense == "at" else row for row in read_rows(board)
    ]
    write_leaderboard(board, rows)
    assert invoke(["compare", "defense=at", "natural-", "--leaderboards", str(board.parent)]) == 0
    assert "at, seed 0: zero-gradients; its robust accuracy may be too good" in capsys.readouterr().out.lower()


def test_command_ranks_one_leaderboard_and_pairs_two(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["compare", str(board), "--json"]) == 0
    (ranking,) = json.loads(capsys.readouterr().out)["rankings"]
    assert [(place["rank"], place["robust_accuracy"]) for place in ranking["places"]] == [(1, 0.9), (2, 0.5)]
    assert invoke(["compare", str(board), str(board)]) == 0
    assert "significant" not in capsys.readouterr().out


def test_command_refuses_what_cannot_be_compared(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["compare", "at-cell", "--leaderboards", str(board.parent)]) == 2
    assert invoke(["compare", str(board), "at-cell"]) == 2
    assert invoke(["compare", "a", "b", "--leaderboards", str(board.parent / "nowhere")]) == 2
    assert "error:" in capsys.readouterr().err
