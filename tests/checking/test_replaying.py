"""benchbench verify: an honest leaderboard is confirmed; each kind of tampering is refuted, with the example's index."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fitted_suites import fitted_experiments
from safetensors import safe_open
from safetensors.torch import save_file

import benchbench
from benchbench.cell.reading import read_cell
from benchbench.checking.evidence import Verdict, what_is_missing
from benchbench.checking.verifying import verify
from benchbench.cli import invoke
from benchbench.errors import UnknownNameError, UsageError
from benchbench.leaderboard import read_rows, write_leaderboard
from benchbench.records import Row
from benchbench.records.arrays import Array, content_digest, read_unchecked_arrays, write_arrays
from benchbench.registry import Registry, load_registry

SUITE = """
name = "tiny"
protocol = "tiny-1"

[[experiments]]
name = "digits"
dataset = { name = "digits", scale = 1 }
architectures = [{ name = "mlp", hidden = [8] }]
defenses = ["at"]
attacks = ["pgd-10"]
metrics = ["accuracy", "adversarial-accuracy", "gaps", "lipschitz"]
threat = { norm = "linf", epsilon = 0.1 }
recipe = { optimizer = "adam", learning_rate = 0.01, batch_size = 32, epochs = 3 }
n_train = 128
n_train_evaluated = 32
n_test = 32
"""
FITTED_SUITE = 'name = "fitted"\nprotocol = "fitted-1"\n' + fitted_experiments(epsilon=0.3, n_test=20)
Board = tuple[Path, Path]  # leaderboard file, runs folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    (folder / "tiny.toml").write_text(SUITE)
    result = benchbench.run(
        str(folder / "tiny.toml"), device="cpu", runs=folder / "runs", leaderboards=folder / "boards"
    )
    assert (result.finished, result.failed) == (1, 0)
    return folder


@pytest.fixture
def board(measured: Path, tmp_path: Path) -> Board:
    """A copy to tamper with."""
    shutil.copytree(measured, tmp_path / "copy")
    return tmp_path / "copy" / "boards" / "tiny.parquet", tmp_path / "copy" / "runs"


def judge(board: Board) -> Verdict:
    (verdict,) = verify(board[0], runs=board[1], device="cpu")
    return verdict


def only_row(board: Board) -> Row:
    (row,) = read_rows(board[0])
    return row


def rewrite(board: Board, kind: str, change: Callable[[dict[str, Array]], None], *, redigest: bool) -> None:
    """Change stored arrays; with `redigest` the row names what they are now, as a careful forger would."""
    row = only_row(board)
    digest = getattr(row, f"{kind}_digest")
    arrays = read_unchecked_arrays(board[1] / kind / f"{digest}.parquet")
    assert arrays is not None
    arrays = {name: array.copy() for name, array in arrays.items()}
    change(arrays)
    if redigest:
        digest = content_digest(arrays)
        write_leaderboard(board[0], [dataclasses.replace(row, **{f"{kind}_digest": digest})])
    write_arrays(board[1] / kind / f"{digest}.parquet", arrays)


def broken_position(board: Board) -> int:
    """Place of an example that the attack breaks."""
    arrays = read_unchecked_arrays(board[1] / "outcomes" / f"{only_row(board).outcomes_digest}.parquet")
    assert arrays is not None
    return int(np.flatnonzero(arrays["correct"] & ~arrays["robust"])[0])


def index_at(board: Board, position: int) -> int:
    arrays = read_unchecked_arrays(board[1] / "outcomes" / f"{only_row(board).outcomes_digest}.parquet")
    assert arrays is not None
    return int(arrays["index"][position])


def test_honest_row_is_confirmed_with_its_bound(board: Board) -> None:
    verdict = judge(board)
    assert (verdict.status, verdict.findings, verdict.missing) == ("confirmed", (), ())
    assert verdict.replayed == 32
    assert verdict.bound == only_row(board).adv_test_accuracy


@pytest.mark.parametrize("redigest", [False, True])
@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda image: image + 0.3, "leaves the ball"), (lambda image: image - 2.0, "leaves the box")],
)
def test_tampered_image_is_refuted_with_its_index(
    board: Board, redigest: bool, change: Callable[[Array], Array], said: str
) -> None:
    def tamper(arrays: dict[str, Array]) -> None:
        arrays["image"][5] = change(arrays["image"][5])

    rewrite(board, "witnesses", tamper, redigest=redigest)
    verdict = judge(board)
    assert verdict.status == "refuted"
    assert any(said in finding.what and finding.examples == (index_at(board, 5),) for finding in verdict.findings)


def test_image_that_breaks_nothing_any_more_is_refuted(board: Board) -> None:
    position = broken_position(board)
    digits = benchbench.read_leaderboard(board[0])
    assert digits.num_rows == 1

    def restore(arrays: dict[str, Array]) -> None:
        arrays["image"][position] = clean_images(board)[position]

    rewrite(board, "witnesses", restore, redigest=True)
    verdict = judge(board)
    assert verdict.status == "refuted"
    assert verdict.findings[0].examples == (index_at(board, position),)
    assert "adversarial image" in verdict.findings[0].what


def clean_images(board: Board) -> Array:
    from benchbench.cell.reading import read_cell
    from benchbench.contract import DataSource
    from benchbench.data import load_dataset, subset
    from benchbench.registry import load_registry

    cell = read_cell(only_row(board).configuration)
    loaded = load_dataset(load_registry(), cell.training.dataset, DataSource(root=board[1], cache=board[1]))
    chosen = subset(loaded.splits.test, 32, "test").examples.inputs
    return np.asarray(chosen.float().div(255.0).numpy())


def test_tampered_outcome_is_refuted_with_its_index(board: Board) -> None:
    position = broken_position(board)

    def flatter(arrays: dict[str, Array]) -> None:
        arrays["robust"][position] = True
        arrays["adversarial_prediction"][position] = arrays["label"][position]

    rewrite(board, "outcomes", flatter, redigest=True)
    row = only_row(board)
    assert row.adv_test_accuracy is not None
    write_leaderboard(board[0], [dataclasses.replace(row, adv_test_accuracy=row.adv_test_accuracy + 1 / 32)])
    verdict = judge(board)
    assert verdict.status == "refuted"
    assert any(finding.examples == (index_at(board, position),) for finding in verdict.findings)


@pytest.mark.parametrize(
    "column", [{"adv_test_accuracy": 0.99}, {"epsilon": 0.2}, {"test_lipschitz": 1.0}, {"gap": 0.5}, {"n_test": 64}]
)
def test_tampered_row_is_refuted(board: Board, column: dict[str, float]) -> None:
    write_leaderboard(board[0], [dataclasses.replace(only_row(board), **column)])  # type: ignore[arg-type]
    verdict = judge(board)
    assert verdict.status == "refuted"
    assert next(iter(column)) in " ".join(map(str, verdict.findings)) or "n_test" in column


@pytest.mark.parametrize("forged", [False, True])
def test_tampered_checkpoint_is_refuted_with_an_index(board: Board, forged: bool) -> None:
    path = board[1] / "models" / f"{only_row(board).model_id}.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name in tensors:
        if name.startswith("model."):
            tensors[name] = -tensors[name]
    if forged:
        from benchbench.training import checkpoint

        metadata["digest"] = checkpoint._digest(tensors)
    save_file(tensors, path, metadata)
    verdict = judge(board)
    assert verdict.status == "refuted"
    assert any(finding.examples for finding in verdict.findings)
    assert any("own digest" in finding.what for finding in verdict.findings) == (not forged)


@pytest.mark.parametrize(("folder", "said"), [("models", "no checkpoint"), ("witnesses", "no witnesses")])
def test_row_without_evidence_here_is_unchecked(board: Board, folder: str, said: str) -> None:
    shutil.rmtree(board[1] / folder)
    verdict = judge(board)
    assert verdict.status == "unchecked"
    assert said in " ".join(verdict.missing)


def test_weights_of_another_run_of_its_cell_do_not_refute_a_row(board: Board) -> None:
    """More threads train other weights of the same model: such a run is here, and the evidence of the row's own."""
    (board[1] / "witnesses").rename(board[0].with_suffix("") / "witnesses")
    shutil.rmtree(board[1] / "outcomes")
    verdict = judge(board)
    assert (verdict.status, verdict.findings) == ("unchecked", ())
    assert "no checkpoint on this machine is of its run" in " ".join(verdict.missing)


@pytest.mark.parametrize(("kind", "name"), [("architecture", "mlp"), ("attack", "pgd-10"), ("dataset", "digits")])
def test_row_whose_plugin_is_missing_here_is_unchecked(
    board: Board, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    plugins = [
        dataclasses.replace(
            plugin, registered=tuple(e for e in plugin.registered if (e.kind, e.offer.name) != (kind, name))
        )
        for plugin in load_registry().plugins
    ]
    monkeypatch.setattr("benchbench.checking.verifying.load_registry", lambda: Registry(plugins))
    verdict = judge(board)
    assert (verdict.status, verdict.findings) == ("unchecked", ())
    assert f"unknown {kind} {name!r}" in " ".join(verdict.missing)


def test_what_is_missing_names_the_distribution_that_the_row_names(board: Board) -> None:
    cell = read_cell(only_row(board).configuration)
    foreign = dataclasses.replace(cell.training.architecture, name="preact", distribution="toys", version="2.0")
    cell = dataclasses.replace(cell, training=dataclasses.replace(cell.training, architecture=foreign))
    said = what_is_missing(UnknownNameError("architecture", "preact", ["mlp"]), cell)
    assert said == "unknown architecture 'preact': toys 2.0, which the row names, is not installed here"
    assert what_is_missing(UsageError("models of timm need timm", hint="pip install timm"), cell).endswith(
        "install timm"
    )


@pytest.mark.parametrize("folder", ["models", "witnesses", "outcomes"])
def test_damaged_file_is_refuted_and_left_alone(board: Board, folder: str) -> None:
    for path in (board[1] / folder).iterdir():
        path.write_bytes(path.read_bytes()[:-20])
    if folder == "outcomes":
        shutil.rmtree(board[0].parent / "tiny")
    before = sorted(path.relative_to(board[1]) for path in board[1].rglob("*"))
    assert judge(board).status == "refuted"
    assert sorted(path.relative_to(board[1]) for path in board[1].rglob("*")) == before


def test_command_prints_verdicts_and_exits_by_them(board: Board, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["verify", str(board[0]), "--runs", str(board[1]), "--device", "cpu", "--quiet", "--json"]
    assert invoke(arguments) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"confirmed": 1}
    write_leaderboard(board[0], [dataclasses.replace(only_row(board), adv_test_accuracy=1.0)])
    assert invoke([*arguments[:-1]]) == 1
    assert "refuted" in capsys.readouterr().out
    assert invoke(["verify", str(board[0]), "--runs", str(board[1] / "elsewhere"), "--quiet"]) == 1


def test_command_refuses_what_is_no_leaderboard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "foreign.parquet").write_text("hello")
    assert invoke(["verify", str(tmp_path / "foreign.parquet")]) == 2
    assert "not a Parquet file" in capsys.readouterr().err


def test_submission_with_weights_is_confirmed_elsewhere(
    board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submission = str(tmp_path / "submission.zip")
    packing = ["leaderboard", "pack", str(board[0]), "--runs", str(board[1]), "--out", submission]
    assert invoke([*packing, "--weights"]) == 0
    shutil.rmtree(board[1])
    assert invoke(["leaderboard", "check", submission]) == 0
    assert "1 bound confirmed, 0 rows refuted, 0 unchecked" in capsys.readouterr().out


def test_submission_without_weights_is_checked_for_box_and_ball(
    board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def tamper(arrays: dict[str, Array]) -> None:
        arrays["image"][5] = arrays["image"][5] + 0.3

    submission = str(tmp_path / "submission.zip")
    packing = ["leaderboard", "pack", str(board[0]), "--runs", str(board[1]), "--out", submission]
    assert invoke(packing) == 0
    assert invoke(["leaderboard", "check", submission]) == 0
    assert "box and ball only" in capsys.readouterr().out
    rewrite(board, "witnesses", tamper, redigest=True)
    assert invoke(packing) == 0
    assert invoke(["leaderboard", "check", submission]) == 1
    assert f"leaves the ball: example {index_at(board, 5)}" in capsys.readouterr().out


def test_checkpoint_at_hand_that_is_not_the_packed_one_is_told(
    board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submission = str(tmp_path / "submission.zip")
    assert invoke(["leaderboard", "pack", str(board[0]), "--runs", str(board[1]), "--out", submission]) == 0
    path = board[1] / "models" / f"{only_row(board).model_id}.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {**metadata, "note": "another file"})
    assert invoke(["leaderboard", "check", submission, "--runs", str(board[1])]) == 1
    assert "is not the one that was packed" in capsys.readouterr().out


def test_fitted_models_and_regressions_are_fitted_again_and_confirmed(tmp_path: Path) -> None:
    (tmp_path / "fitted.toml").write_text(FITTED_SUITE)
    folders = {"runs": tmp_path / "runs", "leaderboards": tmp_path / "boards"}
    result = benchbench.run(str(tmp_path / "fitted.toml"), device="cpu", **folders)  # type: ignore[arg-type]
    assert result.finished == 2
    verdicts = verify(result.leaderboard, runs=folders["runs"], device="cpu")
    assert [verdict.status for verdict in verdicts] == ["confirmed", "confirmed"]
    (regression,) = [row for row in read_rows(result.leaderboard) if row.dataset == "staircase"]
    path = folders["runs"] / "witnesses" / f"{regression.witnesses_digest}.parquet"
    arrays = read_unchecked_arrays(path)
    assert arrays is not None
    moved = arrays["image"].copy()
    moved[3] = moved[3] + 1.0
    write_arrays(path, {"image": moved})
    (refuted,) = [v for v in verify(result.leaderboard, runs=folders["runs"], device="cpu") if v.status == "refuted"]
    assert any(finding.examples == (3,) for finding in refuted.findings)
