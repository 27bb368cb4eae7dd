"""Attacking again refutes rows that no attack was made for, and never an honest one; each kind of row is handled."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fitted_suites import fitted_experiments
from run_processes import EXHAUSTIVE
from scipy.stats import binom
from torch import Tensor, nn

import benchbench
from benchbench.cell.reading import read_cell
from benchbench.checking.evidence import Verdict
from benchbench.checking.fresh_attack import FEWEST, HONEST_ROWS, is_excess
from benchbench.checking.replaying import NO_ATTACK, Replayer
from benchbench.checking.verifying import verify
from benchbench.cli import invoke
from benchbench.contract import DataSource
from benchbench.data import load_dataset, subset
from benchbench.errors import UsageError
from benchbench.kernels.inputs import as_model_input
from benchbench.leaderboard import read_rows, write_leaderboard
from benchbench.records import Row, accuracy_interval
from benchbench.records.arrays import Array, content_digest, read_unchecked_arrays, write_arrays
from benchbench.records.building import mean_bounds
from benchbench.registry import Registry, load_registry

SUITE = """
name = "tiny"
protocol = "tiny-1"

[[experiments]]
name = "digits"
dataset = { name = "digits", scale = 1 }
architectures = [{ name = "mlp", hidden = [8] }]
defenses = ["natural"]
attacks = [
    "pgd-10",
    { name = "pgd", random_start = false },
    { name = "pgd", steps = 1, step_ratio = 0.01, random_start = false },
]
metrics = ["accuracy", "adversarial-accuracy", "gaps"]
threat = { norm = "linf", epsilon = 0.1 }
recipe = { optimizer = "adam", learning_rate = 0.01, batch_size = 32, epochs = 8 }
n_train = 512
n_train_evaluated = 32
n_test = 120
"""
SUITE += fitted_experiments(epsilon=0.1, n_test=60)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    (folder / "tiny.toml").write_text(SUITE)
    result = benchbench.run(str(folder / "tiny.toml"), device="cpu", runs=folder, leaderboards=folder)
    assert (result.finished, result.failed) == (5, 0)
    return folder


@pytest.fixture
def board(measured: Path, tmp_path: Path) -> Path:
    """A copy to tamper with, evidence beside it."""
    shutil.copytree(measured, tmp_path / "copy")
    return tmp_path / "copy" / "tiny.parquet"


def keep(board: Path, chosen: Callable[[Row], bool]) -> Row:
    (row,) = [row for row in read_rows(board) if chosen(row)]
    write_leaderboard(board, [row])
    return row


def is_pgd(row: Row) -> bool:
    return row.attack == "pgd-10" and row.defense == "natural"


def is_idle(row: Row) -> bool:
    return '"steps":1}' in row.attack_options


def judge(board: Path, **arguments: object) -> Verdict:
    (verdict,) = verify(board, runs=board.parent, device="cpu", **{"seed": 0, **arguments})  # type: ignore[arg-type]
    return verdict


def clean_inputs(board: Path, row: Row) -> Tensor:
    cell = read_cell(row.configuration)
    loaded = load_dataset(load_registry(), cell.training.dataset, DataSource(root=board.parent, cache=board.parent))
    return subset(loaded.splits.test, row.n_test, "test").examples.inputs


def forge(board: Path, row: Row) -> Row:
    """Clean images as witnesses, and outcomes edited to match, as if nothing broke the model."""
    inputs = clean_inputs(board, row)
    images = inputs.double() if row.dataset == "staircase" else as_model_input(inputs)
    outcomes = stored(board, "outcomes", row.outcomes_digest)
    if row.dataset == "staircase":
        outcomes["adv_squared_error"] = outcomes["squared_error"]
        error, trained = float(outcomes["squared_error"].mean()), row.extra.get("adv_train_mse")
        changed = dataclasses.replace(row, adv_test_mse=error, adv_gap=None if trained is None else error - trained)
        ends = {name: end for name, end in mean_bounds(changed, outcomes).items() if name in row.extra}
        changed = dataclasses.replace(changed, extra={**row.extra, **ends})
    else:
        outcomes |= {"adversarial_prediction": outcomes["prediction"], "robust": outcomes["correct"]}
        n, right = row.n_test, int(outcomes["correct"].sum())
        interval = accuracy_interval(right, n)
        changed = dataclasses.replace(
            row,
            adv_test_accuracy=right / n,
            adv_test_accuracy_low=interval.low,
            adv_test_accuracy_high=interval.high,
            adv_gap=None if row.adv_train_accuracy is None else row.adv_train_accuracy - right / n,
        )
    digests = {}
    for kind, arrays in (("outcomes", outcomes), ("witnesses", {"image": np.asarray(images.numpy())})):
        digests[f"{kind}_digest"] = digest = content_digest(arrays)
        write_arrays(board.parent / kind / f"{digest}.parquet", arrays)
    changed = dataclasses.replace(changed, **digests)  # type: ignore[arg-type]
    write_leaderboard(board, [changed])
    return changed


def stored(board: Path, kind: str, digest: str) -> dict[str, Array]:
    arrays = read_unchecked_arrays(board.parent / kind / f"{digest}.parquet")
    assert arrays is not None
    return arrays


def test_row_whose_attack_was_never_made_is_refuted_with_the_images_that_break_it(board: Path, tmp_path: Path) -> None:
    honest = keep(board, is_pgd)
    row = forge(board, honest)
    assert row.adv_test_accuracy is not None
    assert honest.adv_test_accuracy is not None
    assert row.adv_test_accuracy > honest.adv_test_accuracy + 0.3
    verdict = judge(board, images=tmp_path / "images")
    assert verdict.status == "refuted"
    assert any("breaks more" in finding.what and finding.examples == verdict.broken for finding in verdict.findings)
    assert any("clean ones" in finding.what for finding in verdict.findings)
    assert len(verdict.broken) >= FEWEST
    assert set(verdict.broken) <= set(verdict.sampled)
    found = read_unchecked_arrays(tmp_path / "images" / f"{row.cell_id}.parquet")
    assert found is not None
    assert sorted(found["index"].tolist()) == list(verdict.broken)
    position = {
        int(index): place for place, index in enumerate(stored(board, "outcomes", row.outcomes_digest)["index"])
    }
    clean = clean_inputs(board, row).float().div(255.0).numpy()[[position[int(i)] for i in found["index"]]]
    assert 0 < np.abs(found["image"] - clean).max() <= row.epsilon + 1e-5


def remove_images(board: Path) -> None:
    for path in (board.parent / "witnesses").iterdir():
        path.unlink()


def test_without_its_images_a_row_is_still_attacked_and_refuted_by_its_weights(board: Path) -> None:
    honest = keep(board, is_pgd)
    remove_images(board)
    verdict = judge(board)
    assert (verdict.status, verdict.missing) == ("unchecked", ("no witnesses on this machine",))
    assert (verdict.replayed, verdict.proven, verdict.bound) == (120, "", None)
    assert len(verdict.sampled) >= FEWEST
    assert verdict.broken_share is not None
    forge(board, honest)
    remove_images(board)
    verdict = judge(board)
    assert verdict.status == "refuted"
    assert [finding.what for finding in verdict.findings] == ["its own attack breaks more than it admits"]
    assert "no witnesses" in str(verdict)


def test_without_its_images_a_row_of_other_weights_is_refuted(board: Path) -> None:
    row = keep(board, is_pgd)
    remove_images(board)
    outcomes = stored(board, "outcomes", row.outcomes_digest)
    wrong = np.flatnonzero(~outcomes["correct"])[0]
    others = {*range(10)} - {int(outcomes["label"][wrong]), int(outcomes["prediction"][wrong])}
    outcomes["prediction"][wrong] = min(others)  # as wrong as before: no mean changes
    digest = content_digest(outcomes)
    write_arrays(board.parent / "outcomes" / f"{digest}.parquet", outcomes)
    write_leaderboard(board, [dataclasses.replace(row, outcomes_digest=digest)])
    verdict = judge(board)
    assert (verdict.status, verdict.queries) == ("refuted", 0)
    (finding,) = verdict.findings
    assert (finding.what, finding.examples) == (
        "the model predicts another class than recorded",
        (int(outcomes["index"][wrong]),),
    )


def test_only_the_chosen_cells_are_checked(measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = tmp_path / "tiny.parquet"
    table = pq.read_table(measured / "tiny.parquet")
    ids = table["cell_id"].to_pylist()
    place = table.schema.get_field_index("test_accuracy")
    damaged = [7.0, *table["test_accuracy"].to_pylist()[1:]]  # the first row's
    pq.write_table(table.set_column(place, table.schema.field(place), pa.array(damaged)), board)
    how = ["--runs", str(measured), "--device", "cpu", "--replay-only", "--quiet", "--json"]
    assert invoke(["verify", str(board), ids[3], ids[1][:8], *how]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["cell_id"] for row in found["rows"]} == {ids[1], ids[3]}
    assert found["counts"] == {"confirmed": 2}
    assert len(found["damaged_rows"]) == 1
    for unknown in (ids[0], "nothing", ids[1][:2]):
        assert invoke(["verify", str(board), unknown, *how]) == 2
        assert repr(unknown) in capsys.readouterr().err
    assert invoke(["verify", str(board), *how]) == 1
    assert json.loads(capsys.readouterr().out)["counts"] == {"confirmed": 4}
    (verdict,) = verify(board, ids[2][:8], runs=measured, device="cpu", replay_only=True, on_problem=lambda _: None)
    assert verdict.cell_id == ids[2]


def test_labels_tell_rows_of_one_attack_apart_by_its_options(measured: Path) -> None:
    said = {v.label for v in verify(measured / "tiny.parquet", runs=measured, device="cpu", replay_only=True)}
    assert len(said) == 5
    one, other = sorted(label for label in said if ", pgd, " in label)
    assert "step_ratio=0.01" in one
    assert "steps=10" in other


def test_replay_only_says_that_no_attack_was_made(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = forge(board, keep(board, is_pgd))
    verdict = judge(board, replay_only=True)
    assert verdict.status == "confirmed"
    assert verdict.bound == row.adv_test_accuracy
    assert (verdict.remarks, verdict.seed, verdict.sampled) == ((NO_ATTACK,), None, ())
    arguments = ["verify", str(board), "--runs", str(board.parent), "--device", "cpu", "--quiet"]
    assert invoke([*arguments, "--replay-only"]) == 0
    assert "robust accuracy is at most" in (said := capsys.readouterr().out)
    assert NO_ATTACK in said
    assert invoke(arguments) == 1
    said = capsys.readouterr()
    assert "0 bounds confirmed, 1 row refuted" in said.out
    assert "each verdict says why" in said.err  # folders are not to blame


def test_submission_whose_attack_was_never_made_is_refuted(
    board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forge(board, keep(board, is_pgd))
    submission = str(tmp_path / "submission.zip")
    assert (
        invoke(["leaderboard", "pack", str(board), "--runs", str(board.parent), "--out", submission, "--weights"]) == 0
    )
    shutil.rmtree(board.parent)
    assert invoke(["leaderboard", "check", submission, "--json", "--seed", "3"]) == 1
    (row,) = json.loads(capsys.readouterr().out.partition("MiB\n")[2])["rows"]
    assert (row["status"], row["seed"]) == ("refuted", 3)
    assert row["broken"]
    assert invoke(["leaderboard", "check", submission, "--replay-only"]) == 0


def test_honest_rows_are_never_refuted(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of classifiers with and without random starts, fitted ones, and regressions."""
    nothing = ((), torch.empty(0, dtype=torch.int64))
    monkeypatch.setattr(
        "benchbench.evaluation.outcome.examine", lambda _, hurried: nothing
    )  # slow, and refutes nothing
    for seed in range(1000 if EXHAUSTIVE else 4):
        verdicts = verify(measured / "tiny.parquet", runs=measured, device="cpu", seed=seed)
        assert {verdict.status for verdict in verdicts} == {"confirmed"}
        assert {verdict.seed for verdict in verdicts} == {seed}


def test_bound_is_said_and_seed_repeats_the_attack(board: Path) -> None:
    row = keep(board, is_pgd)
    (drawn,) = verify(board, runs=board.parent, device="cpu")
    assert drawn.bound == row.adv_test_accuracy
    assert drawn.broken_share is not None
    assert drawn.broken_share >= 1 - drawn.bound
    assert 0 < len(drawn.sampled) <= row.n_test
    assert drawn.queries == 10 * len(drawn.sampled)
    assert judge(board, seed=drawn.seed) == drawn
    assert judge(board, seed=1, budget=300).sampled != judge(board, seed=2, budget=300).sampled
    assert str(drawn).startswith("confirmed: robust accuracy is at most ")
    assert f"attacked again with seed {drawn.seed}" in str(drawn)


def test_attack_without_randomness_breaks_the_same_examples_again(board: Path) -> None:
    keep(board, lambda row: row.attack == "pgd" and '"steps":10' in row.attack_options)
    assert "0 break only now, 0 broke only then" in str(judge(board))


def test_searches_flag_a_row_whose_own_attack_is_weak_and_refute_nothing(board: Path) -> None:
    keep(board, is_idle)
    verdict = judge(board)
    assert verdict.status == "confirmed"
    assert "margin-ascent-succeeds" in verdict.flags
    assert verdict.bound is not None
    assert verdict.broken_share is not None
    assert verdict.broken_share > 1 - verdict.bound + 0.1


def test_budget_bounds_the_sample_and_too_few_examples_refute_nothing(board: Path) -> None:
    forge(board, keep(board, is_pgd))
    assert len(judge(board, budget=400).sampled) == 40
    few = judge(board, budget=10)
    assert (few.status, len(few.sampled)) == ("unchecked", 16)
    assert "too few" in few.missing[0]


def test_regression_whose_attack_was_never_made_is_refuted(board: Path) -> None:
    forge(board, keep(board, lambda row: row.dataset == "staircase"))
    verdict = judge(board)
    assert verdict.status == "refuted"
    assert verdict.bound is None
    assert len(verdict.findings[0].examples) >= FEWEST


def test_fitted_model_that_few_images_break_is_refuted_for_its_clean_witnesses(board: Path) -> None:
    forge(board, keep(board, lambda row: row.defense == "distance"))
    verdict = judge(board)
    assert verdict.status == "refuted"
    (finding,) = verdict.findings
    assert "clean ones" in finding.what
    assert len(finding.examples) >= FEWEST > len(verdict.broken)


def test_row_under_an_attack_of_other_code_or_a_missing_one_is_unchecked(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge(board, keep(board, is_pgd))
    changed = {"attack pgd-10": ("revision 0", "revision 1")}
    with monkeypatch.context() as patch:
        patch.setattr("benchbench.checking.replaying.code_changes", lambda *_: changed)
        verdict = judge(board)
    assert verdict.status == "unchecked"
    assert "code here is another: revision 0, here revision 1" in verdict.missing[0]
    make = Registry.make

    def without_attacks(self: Registry, kind: str, *given: object, **options: object) -> object:
        if kind == "attack":
            raise UsageError("no attack 'pgd-10'")
        return make(self, kind, *given, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Registry, "make", without_attacks)
    verdict = judge(board)
    assert verdict.status == "unchecked"
    assert "could not be made again: no attack 'pgd-10'" in verdict.missing[0]


class Noisy(nn.Module):
    """Adds noise to the logits, so that each call answers otherwise."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits + 10 * torch.randn_like(logits)


def test_model_whose_answers_change_is_unchecked(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(board, is_pgd)
    load = Replayer.load_model
    monkeypatch.setattr(
        Replayer, "load_model", lambda self, *given: (Noisy((found := load(self, *given))[0]), found[1])
    )
    verdict = judge(board)
    assert (verdict.status, verdict.findings, verdict.proven) == ("unchecked", (), "")
    assert "change from call to call" in verdict.missing[0]
    assert verdict.queries == 0


def test_excess_is_the_exact_test_of_mcnemar() -> None:
    for more in range(40):
        for fewer in range(12):
            p_value = binom.sf(more - 1, more + fewer, 0.5)
            signs = np.array([1] * more + [-1] * fewer + [0] * 5)
            assert is_excess(signs, HONEST_ROWS) == (p_value * HONEST_ROWS <= 1)
