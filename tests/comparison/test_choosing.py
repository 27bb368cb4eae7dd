"""Finding models by id or description, and the compare command on them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from contender_samples import contender, outcomes_of, share
from sample_rows import make_row

from benchbench.cli import invoke
from benchbench.comparison.choosing import by_method, choose, matched, methods
from benchbench.comparison.contenders import Contender, label_runs
from benchbench.comparison.pairing import spreads
from benchbench.errors import UsageError
from benchbench.leaderboard import read_rows, write_leaderboard
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
        ("defense=at,attack=pgd-10", "'attack' chooses no model"),
    ],
)
def test_filter_of_no_single_model_is_refused_with_the_list_of_models(wanted: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose(MODELS, wanted)
    assert said in str(caught.value)


def test_models_of_two_leaderboards_are_matched_by_configuration_and_seed() -> None:
    other = [contender("ee55", ("pgd", share(80)), defense="trades", defense_options='{"beta":1.0}', seed=1)]
    assert [(one.row.model_id, two.row.model_id) for one, two in matched(MODELS, other)] == [("dd44", "ee55")]


def grid() -> list[Contender]:
    """Two radii, two networks, three seeds of one method, each with its own robust accuracy."""
    return [
        contender(
            f"m{epsilon}-{len(options)}-{seed}",
            ("pgd", share(90 - seed - int(100 * epsilon) - len(options))),
            defense="at",
            epsilon=epsilon,
            architecture="mlp",
            architecture_options=options,
            seed=seed,
        )
        for epsilon in (0.1, 0.2)
        for options in ("{}", '{"hidden":[64]}')
        for seed in range(3)
    ]


def test_label_of_a_method_has_every_difference_and_its_group_has_only_its_runs() -> None:
    found = {name: spreads(runs)["adv_test_accuracy"] for name, runs in methods(grid()).items()}
    assert {name: (one.n, round(100 * one.mean)) for name, one in found.items()} == {
        "mnist mlp AT, epsilon 0.1": (3, 77),
        "mnist mlp AT, epsilon 0.2": (3, 67),
        "mnist mlp (hidden=[64]) AT, epsilon 0.1": (3, 64),
        "mnist mlp (hidden=[64]) AT, epsilon 0.2": (3, 54),
    }


def test_other_recipes_and_revisions_are_no_seeds_of_a_method() -> None:
    runs = [
        contender(
            f"m{seed}",
            ("pgd", share(90)),
            defense="at",
            seed=seed,
            configuration=json.dumps({"training": {"seed": seed, **extra}}),
        )
        for seed, extra in enumerate([{}, {}, {"recipe": {"learning_rate": 1.0}}, {"defense": {"revision": 2}}])
    ]
    assert sorted(map(len, by_method(runs).values())) == [1, 1, 2]
    assert len(methods(runs)) == 3


def test_models_of_one_label_are_matched_with_their_own_radius_and_revision() -> None:
    pairs = matched(grid(), grid())
    assert len(pairs) == 12
    assert all(one.row.model_id == other.row.model_id for one, other in pairs)
    revised = [contender(name, ("pgd", share(90)), defense="llr") for name in ("old", "new")]
    assert [(a.row.model_id, b.row.model_id) for a, b in matched(revised, revised[1:])] == [("new", "new")]


def test_label_of_one_run_has_its_seed_and_of_several_their_number() -> None:
    runs = grid()
    assert label_runs([runs[:3], runs[3:4]]) == ["mnist mlp AT, 3 seeds", "mnist mlp (hidden=[64]) AT, seed 0"]
    assert label_runs([runs[:3], runs[6:9]]) == [
        "mnist mlp AT, 3 seeds, epsilon 0.1",
        "mnist mlp AT, 3 seeds, epsilon 0.2",
    ]


def write_grid(folder: Path) -> Path:
    rows = []
    for model in grid():
        (outcomes,) = model.outcomes
        digest = content_digest(outcomes)
        (folder / "outcomes").mkdir(exist_ok=True)
        write_arrays(folder / "outcomes" / f"{digest}.parquet", outcomes)
        cell_id = f"cell{len(rows)}"
        rows.append(dataclasses.replace(model.row, cell_id=cell_id, model_id=cell_id, outcomes_digest=digest))
    write_leaderboard(folder / "grid.parquet", rows)
    return folder / "grid.parquet"


def test_command_tells_the_radii_of_a_grid_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_grid(tmp_path)
    assert invoke(["compare", str(path), "--json"]) == 0
    seeds = json.loads(capsys.readouterr().out)["seeds"]
    assert {name: round(100 * found["adv_test_accuracy"]["mean"]) for name, found in seeds.items()} == {
        "mnist mlp AT, epsilon 0.1": 77,
        "mnist mlp AT, epsilon 0.2": 67,
        "mnist mlp (hidden=[64]) AT, epsilon 0.1": 64,
        "mnist mlp (hidden=[64]) AT, epsilon 0.2": 54,
    }
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(path.read_bytes())
    assert invoke(["compare", str(path), str(copy), "--json"]) == 0
    robust = [d for d in json.loads(capsys.readouterr().out)["differences"] if d["measure"] == "adv_test_accuracy"]
    assert len({tuple(d["models"]) for d in robust}) == 12
    assert len({d["first"] for d in robust}) == 12


def test_command_says_how_many_seeds_each_side_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(write_grid(tmp_path).parent)
    wide, narrow = ("epsilon=0.1,architecture_options={}", 'epsilon=0.1,architecture_options={"hidden":[64]},seed=0')
    assert invoke(["compare", wide, narrow, "--leaderboards", folder, "--runs", folder, "--json"]) == 0
    robust = json.loads(capsys.readouterr().out)["differences"][1]
    assert (robust["seeds"], robust["first"], robust["second"]) == ([3, 1], pytest.approx(0.77), pytest.approx(0.65))
    assert invoke(["compare", wide, narrow, "--leaderboards", folder, "--runs", folder]) == 0
    shown = capsys.readouterr().out
    assert "t over seeds (3 and 1)" in shown
    assert "no test: the seeds show no spread" in shown  # every image is classified correctly
    assert invoke(["compare", wide, f"{wide},seed=0", "--leaderboards", folder, "--runs", folder]) == 2


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
    write_leaderboard(board, read_rows(board)[:1])
    assert invoke(["compare", str(board)]) == 2
    assert "no two models here have the same data" in capsys.readouterr().err


def test_command_refuses_what_cannot_be_compared(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["compare", "at-cell", "--leaderboards", str(board.parent)]) == 2
    assert invoke(["compare", str(board), "at-cell"]) == 2
    assert invoke(["compare", "a", "b", "--leaderboards", str(board.parent / "nowhere")]) == 2
    assert "error:" in capsys.readouterr().err
