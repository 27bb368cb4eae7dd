"""The Python API: functions of the package, loaded on first use, that do what the commands do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

import benchbench
import benchbench.api
from benchbench.contract import DataSource, KeyedGenerator, Offer, Threat, hookimpl
from benchbench.errors import ContractError, DataError, MissingDataError, OptionError, UnknownNameError, UsageError
from benchbench.events import CellStarted, Event, RunFinished, RunStarted
from benchbench.planning.preparing import choose_profile
from benchbench.registry import load_registry
from benchbench.suite import read_suite

DIGITS = {"name": "digits", "scale": 1}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCHBENCH_DATA", raising=False)


class Constant(nn.Module):
    """Says class 3 whatever it sees; its gradient is zero."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.eye(classes)[3])

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1) + 0 * images.flatten(1).sum(dim=1, keepdim=True)


class Brightness(nn.Module):
    """Two logits, +- (mean brightness - 0.5): the L-inf distance to the boundary is |mean - 0.5|; padded to 10 classes."""

    def forward(self, images: Tensor) -> Tensor:
        excess = images.flatten(1).mean(dim=1, keepdim=True) - 0.31
        return torch.cat([excess, -excess, torch.full((len(images), 8), -10.0)], dim=1)


# The package ------------------------------------------------------------------------------------------------------


def test_functions_load_on_first_use() -> None:
    program = (
        "import sys, benchbench\n"
        "assert 'torch' not in sys.modules and 'benchbench.api' not in sys.modules\n"
        "assert {'run', 'plan', 'evaluate', 'separation', 'read_leaderboard'} <= set(dir(benchbench))\n"
        "assert benchbench.events.ignore(None) is None\n"
        "benchbench.plan\n"
        "assert 'benchbench.api' in sys.modules and 'torch' not in sys.modules"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")


def test_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        _ = benchbench.rum  # type: ignore[attr-defined]


# run, plan, read_leaderboard --------------------------------------------------------------------------------------


def test_run_tells_its_story_and_returns_what_it_did(tmp_path: Path) -> None:
    told: list[Event] = []
    result = benchbench.run("smoke", device="cpu", listener=told.append)
    assert (result.finished, result.failed, len(result.rows)) == (2, 0, 2)
    assert result.leaderboard == Path("leaderboards/smoke.parquet")
    assert isinstance(told[0], RunStarted)
    assert told[0].ready == 2
    assert [event.number for event in told if isinstance(event, CellStarted)] == [1, 2]
    assert isinstance(told[-1], RunFinished)
    table = benchbench.read_leaderboard(tmp_path / "leaderboards" / "smoke.parquet")
    assert isinstance(table, pa.Table)
    assert table.column("cell_id").to_pylist() == [row.cell_id for row in result.rows]


def test_plan_is_what_run_would_do() -> None:
    before = benchbench.plan("smoke", device="cpu")
    assert [planned.status for planned in before.cells] == ["ready", "ready"]
    result = benchbench.run("smoke", device="cpu", only=["defense=at"])
    assert [row.cell_id for row in result.rows] == [before.cells[1].cell.cell_id if before.cells[1].cell else ""]
    assert [planned.status for planned in benchbench.plan("smoke", device="cpu").cells] == ["ready", "done"]


def test_seeds_may_be_numbers_of_numpy() -> None:
    plans = [benchbench.plan("smoke", profile="quick", seeds=seeds) for seeds in (np.arange(2), [0, 1])]
    first, second = ([cell.cell_id for cell in plan.ready] for plan in plans)
    assert first == second


def test_profile_is_paper_on_cuda_and_quick_elsewhere() -> None:
    suite = read_suite("smoke", load_registry())
    assert choose_profile(suite, None, "cuda")[0] == "paper"
    assert choose_profile(suite, None, "mps")[0] == "quick"
    assert choose_profile(suite, "paper", "cpu") == ("paper", "")
    with pytest.raises(UsageError, match="no profile 'quik'"):
        choose_profile(suite, "quik", "cpu")


class OddDataset:
    """A dataset whose loading raises what no one expects."""

    def load(self, source: object) -> None:
        """Raise."""
        raise LookupError("the shelf is empty")


class OddPlugin:
    """Offers it."""

    @hookimpl
    def benchbench_datasets(self) -> tuple[Offer, ...]:
        """The dataset."""
        return (Offer(name="odd", summary="cannot be loaded", factory=OddDataset),)


def test_dataset_that_raises_fails_its_own_cells_alone(plant: Callable[[object], None], tmp_path: Path) -> None:
    plant(OddPlugin())
    settings = """
architectures = [{ name = "mlp", hidden = [4] }]
defenses = ["natural"]
attacks = ["pgd-10"]
metrics = ["accuracy"]
threat = { epsilon = 0.1 }
recipe = { learning_rate = 0.001, epochs = 1 }
n_train = 20
n_test = 10
n_train_evaluated = 10
"""
    experiments = "".join(
        f'[[experiments]]\nname = "{name}"\ndataset = "{name}"\n{settings}' for name in ("odd", "digits")
    )
    (tmp_path / "odd.toml").write_text(f'name = "odd"\nprotocol = "odd-1"\n{experiments}')
    result = benchbench.run("odd.toml", device="cpu")
    assert (result.finished, result.failed) == (1, 1)
    (failed,) = result.plan.with_status("failed")
    assert "the shelf is empty" in failed.reason
    assert [row.dataset for row in result.rows] == ["digits"]


# separation -------------------------------------------------------------------------------------------------------


def test_separation_of_a_dataset_by_name_knows_the_protocol_epsilon() -> None:
    report = benchbench.separation("digits")
    assert report.train_train.minimum == pytest.approx(111 / 255)
    assert report.train_train.epsilon == 0.1
    assert benchbench.separation("digits", epsilon="3/10").train_train.exceeds_two_epsilon is False


def test_dataset_has_the_split_that_rows_use() -> None:
    splits = benchbench.load_dataset({"name": "digits", "scale": 1})
    assert (len(splits.train), splits.test.inputs.shape) == (1437, (360, 1, 8, 8))
    with pytest.raises(UsageError, match="digits"):
        benchbench.load_dataset("digit")


def test_separation_refuses_what_is_not_there() -> None:
    with pytest.raises(UnknownNameError):
        benchbench.separation("digit")
    with pytest.raises(MissingDataError):
        benchbench.separation("svhn")
    with pytest.raises(OptionError):
        benchbench.separation("digits", exclude=[-1])


# evaluate ---------------------------------------------------------------------------------------------------------


def test_worst_case_is_taken_for_each_example() -> None:
    report = benchbench.evaluate(
        Brightness(), dataset=DIGITS, threat=Threat(epsilon=0.02), attacks=["pgd-10", "mt-20"], n_test=200
    )
    robust = torch.stack([attack.robust for attack in report.attacks.values()])
    assert torch.equal(report.worst_case, robust.all(dim=0))
    assert report.worst_case_accuracy == int(report.worst_case.sum()) / 200
    assert report.worst_case_accuracy <= min(attack.accuracy for attack in report.attacks.values())
    assert report.test_accuracy == int((report.prediction == report.label).sum()) / 200


def test_attacks_whose_options_are_rounded_alike_in_tables_keep_results_of_their_own() -> None:
    nearly_equal = [{"name": "pgd", "steps": 1, "step_ratio": ratio} for ratio in (0.2, 0.200000001)]
    report = benchbench.evaluate(
        Brightness(), dataset=DIGITS, threat=Threat(epsilon=0.02), attacks=["pgd-10", *nearly_equal], n_test=50
    )
    assert len(report.attacks) == 3
    assert "pgd-10" in report.attacks


def test_a_ball_of_radius_zero_is_refused() -> None:
    with pytest.raises(UsageError, match="epsilon must be above 0"):
        benchbench.evaluate(Brightness(), dataset=DIGITS, threat=Threat(epsilon=0.0), n_test=50)


def test_a_radius_beyond_the_box_is_refused() -> None:
    for threat in (Threat(epsilon=8), Threat(norm="l2", epsilon=128), Threat(norm="l1", epsilon=65)):
        with pytest.raises(UsageError, match=f"did you mean {threat.epsilon:g}/255"):
            benchbench.evaluate(Brightness(), dataset=DIGITS, threat=threat, n_test=5)
    with pytest.raises(UsageError, match="did you mean 8/255"):
        benchbench.separation(DIGITS, epsilon=8)


def test_robust_examples_are_those_beyond_epsilon_of_a_known_boundary() -> None:
    report = benchbench.evaluate(Brightness(), dataset=DIGITS, threat=Threat(epsilon=0.02), attacks=["pgd-10"])
    registry = load_registry()
    digits = registry.make("dataset", registry.resolve("dataset", "digits", {"scale": 1}))
    images = digits.load(DataSource(root=Path(), cache=Path())).test.inputs[report.index].float() / 255
    # an attack moves the mean by epsilon, less where pixels are at the edge of the box already
    down = (images - 0.02).clamp(0, 1).flatten(1).mean(dim=1)
    up = (images + 0.02).clamp(0, 1).flatten(1).mean(dim=1)
    right = report.prediction == report.label
    expected = right & torch.where(report.label == 0, down > 0.31, up < 0.31)
    clear = ((down - 0.31).abs() > 1e-4) & ((up - 0.31).abs() > 1e-4)
    assert torch.equal(report.attacks["pgd-10"].robust[clear], expected[clear])
    assert right.any()


def test_witnesses_lie_in_ball_and_box() -> None:
    report = benchbench.evaluate(Brightness(), dataset=DIGITS, threat=Threat(epsilon=0.1), n_test=50)
    witnesses = report.attacks["pgd-10"].witnesses
    assert witnesses.shape == (50, 1, 8, 8)
    assert 0 <= float(witnesses.min()) <= float(witnesses.max()) <= 1


def test_model_without_gradients_is_flagged() -> None:
    report = benchbench.evaluate(Constant(), dataset=DIGITS, threat=Threat(epsilon=0.1), n_test=100)
    assert "zero-gradients" in report.attacks["pgd-10"].flags
    assert report.test_accuracy == report.worst_case_accuracy == int((report.label == 3).sum()) / 100


def test_model_comes_back_as_it_was() -> None:
    model = Constant().train()
    benchbench.evaluate(model, dataset=DIGITS, threat=Threat(epsilon=0.1), n_test=10)
    assert model.training
    assert model.logits.requires_grad
    assert model.logits.grad is None


def test_threat_is_the_protocols_unless_given() -> None:
    assert benchbench.evaluate(Constant(), dataset=DIGITS, n_test=5).threat == Threat(epsilon=0.1)
    threat = Threat(norm="l2", epsilon=0.5)
    assert benchbench.evaluate(Constant(), dataset=DIGITS, n_test=5, threat=threat).threat == threat


def test_attacks_of_one_name_are_told_apart_by_their_options() -> None:
    attacks: list[str | dict[str, Any]] = ["pgd-10", {"name": "pgd", "steps": 1}, {"name": "pgd", "steps": 2}]
    report = benchbench.evaluate(Constant(), dataset=DIGITS, attacks=attacks, n_test=5)
    assert len(report.attacks) == 3
    assert [attack.options["steps"] for attack in report.attacks.values()] == [10, 1, 2]
    assert "pgd-10" in report.attacks


def test_same_seed_gives_the_same_outcomes() -> None:
    reports = [
        benchbench.evaluate(Brightness(), dataset=DIGITS, attacks=[{"name": "pgd", "steps": 1}], n_test=50, seed=seed)
        for seed in (1, 1, 2)
    ]
    witnesses = [report.attacks["pgd"].witnesses for report in reports]
    assert torch.equal(witnesses[0], witnesses[1])
    assert not torch.equal(witnesses[0], witnesses[2])


class NanModel(nn.Module):
    """Not a number, whatever it sees."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.full((len(images), 10), float("nan"))


@pytest.mark.parametrize(
    ("model", "arguments", "error", "told"),
    [
        (Constant(), {"dataset": "digit"}, UnknownNameError, "unknown dataset 'digit'"),
        (Constant(), {"attacks": ["pgd-11"]}, UnknownNameError, "unknown attack 'pgd-11'"),
        (Constant(), {"attacks": []}, UsageError, "no attack"),
        (Constant(), {"attacks": [{"steps": 3}]}, UsageError, "has no name"),
        (Constant(), {"n_test": 0}, UsageError, "at least 1"),
        (Constant(), {"device": "gpu"}, UsageError, "is not offered"),
        (Constant(), {"dataset": "svhn"}, MissingDataError, "svhn"),
        (Constant(), {"dataset": "staircase", "threat": Threat(epsilon=0.1)}, DataError, "regression"),
        (Constant(classes=7), {}, ContractError, r"returned \(1, 7\).*expected: logits of shape \(1, 10\)"),
        (nn.Linear(3, 10), {}, ContractError, "cannot take float32 inputs of shape"),
        (NanModel(), {}, ContractError, "not finite"),
    ],
)
def test_mistakes_are_told(model: nn.Module, arguments: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        benchbench.evaluate(model, **{"dataset": DIGITS, "n_test": 10, **arguments})


class FarAttack:
    """Leaves the ball."""

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """The negative."""
        return 1 - images


class FarPlugin:
    """Offers it."""

    @hookimpl
    def benchbench_attacks(self) -> tuple[Offer, ...]:
        """The attack."""
        return (Offer(name="far", summary="leaves the ball", factory=FarAttack),)


def test_attack_that_leaves_the_ball_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = load_registry(extra_plugins=[FarPlugin()])
    monkeypatch.setattr("benchbench.own_model.evaluating.load_registry", lambda: registry)
    with pytest.raises(ContractError, match="far"):
        benchbench.evaluate(Constant(), dataset=DIGITS, attacks=["pgd-10", "far"], n_test=50)


def test_arguments_are_taken_as_they_are_at_hand(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    folders = {"data": str(tmp_path / "data"), "runs": str(tmp_path / "runs")}
    places = {**folders, "leaderboards": str(tmp_path)}
    result = benchbench.run("smoke", only={"defense": ["natural"]}, device=torch.device("cpu"), **places)
    assert [row.defense for row in result.rows] == ["natural"]
    planned = benchbench.plan("smoke", only="defense=natural,at", device=torch.device("cpu"), **folders)
    assert [cell.status for cell in planned.cells] == ["done", "ready"]


@pytest.mark.parametrize(
    "words",
    [
        {"threat": {"norm": "l2", "epsilon": "1/2"}},
        {"norm": "l2", "epsilon": "1/2"},
        {"norm": "l2", "epsilon": 0.5},
        {"threat": Threat(norm="l2", epsilon=0.5)},
    ],
)
def test_threat_may_be_said_in_words_and_one_attack_alone(words: dict[str, Any]) -> None:
    report = benchbench.evaluate(Constant(), dataset=DIGITS, n_test=5, attacks="pgd-10", **words)
    assert (report.threat.norm, report.threat.epsilon, [*report.attacks]) == ("l2", 0.5, ["pgd-10"])


def test_threat_in_words_is_said_once_and_rightly() -> None:
    with pytest.raises(UsageError, match="threat says norm and radius"):
        benchbench.evaluate(Constant(), dataset=DIGITS, threat={"norm": "l2"}, epsilon=1)
    with pytest.raises(UsageError, match="a threat has no 'eps'"):
        benchbench.evaluate(Constant(), dataset=DIGITS, threat={"eps": 1})


def test_results_are_told_in_a_few_lines_and_as_html(tmp_path: Path) -> None:
    report = benchbench.evaluate(Constant(), dataset=DIGITS, n_test=200, attacks=["pgd-10", "mt-20"])
    told = repr(report).splitlines()
    assert told[0] == "digits, 200 test examples, linf epsilon 0.1"
    assert told[-1].startswith("worst case of each example")
    assert len(told) == 7
    accuracy = 100 * report.test_accuracy
    assert f"{accuracy:.2f}%" in told[3]
    low, high = map(float, told[3].split("%")[1].strip().split(" to "))
    assert low < accuracy < high
    assert report._repr_html_().count("<tr>") == 5
    assert "<p>digits, 200" in report._repr_html_()
    result = benchbench.run("smoke", device="cpu", runs=tmp_path / "runs", leaderboards=tmp_path)
    assert repr(result).startswith("<RunResult of smoke, profile quick: 2 rows, 2 computed now, 0 failed, 0 left; ")
    assert repr(result.plan) == "<Plan of smoke, profile quick: 2 ready>"
    assert "2 computed now" in result._repr_html_()
    assert result._repr_html_().count("<tr>") == 3  # headings and two methods
    again = benchbench.plan("smoke", device="cpu", runs=tmp_path / "runs", only="defense=at,natural")
    assert "smoke, profile quick: 2 done" in again._repr_html_()
    assert "<td>digits" in again._repr_html_()
    (verdict,) = benchbench.verify(str(result.leaderboard), runs=str(tmp_path / "runs"), device=torch.device("cpu"))[:1]
    assert verdict.status == "confirmed"
