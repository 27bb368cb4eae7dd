"""Implementations of one attack are re-checked and compared example by example."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchbench.builtin.attacks.autoattack.standard import AutoAttack
from benchbench.builtin.attacks.pgd import Pgd
from benchbench.cli import invoke
from benchbench.contract import KeyedGenerator, Threat
from benchbench.parity import AttackSetting, compare_implementations, installed_peers
from benchbench.parity.comparison import NATIVE
from benchbench.parity.peers import Perturb
from benchbench.testing import smooth_toy, toy_attack_problem


def compare(peers: dict[str, Perturb], native: Perturb | None = None, batch_size: int = 4) -> dict[str, object]:
    problem = toy_attack_problem("linf", hardest=0.9)
    report = compare_implementations(
        problem.model,
        problem.images,
        problem.labels,
        threat=problem.threat,
        native=native or (lambda images, labels: images),
        peers=lambda model: peers,
        batch_size=batch_size,
    )
    return {"report": report, **{one.name: one for one in report.implementations}}


def strongest(images: Tensor, labels: Tensor) -> Tensor:
    problem = toy_attack_problem("linf", hardest=0.9)
    away = (problem.model.weight[1 - labels] - problem.model.weight[labels]).sign().view_as(images)
    return images + problem.threat.epsilon * away.detach()


def test_disagreements_are_counted_example_by_example() -> None:
    found = compare({"strong": strongest})
    native, strong = found[NATIVE], found["strong"]
    assert native.robust_accuracy == 1.0  # type: ignore[attr-defined]
    assert strong.robust_accuracy == pytest.approx(1 / 9)  # type: ignore[attr-defined]
    assert found["report"].disagreements(strong) == (0, 8)  # type: ignore[attr-defined]
    assert found["report"].disputed(strong).tolist() == [True] * 8 + [False]  # type: ignore[attr-defined]
    assert compare({"weak": lambda images, labels: images}, native=strongest)["report"].disagreements(
        found[NATIVE]
    ) == (8, 0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "cheat",
    [
        lambda images, labels: images + 3.0 * (strongest(images, labels) - images),
        lambda images, labels: torch.full_like(images, float("nan")),
        lambda images, labels: images + 10.0,
    ],
)
def test_candidates_outside_ball_or_box_fool_nobody(cheat: Perturb) -> None:
    (cheating,) = (compare({"cheat": cheat})["cheat"],)
    assert cheating.outside == 9  # type: ignore[attr-defined]
    assert cheating.robust_accuracy == 1.0  # type: ignore[attr-defined]


def test_library_that_raises_is_listed_with_its_error_and_the_rest_goes_on() -> None:
    def broken(images: Tensor, labels: Tensor) -> Tensor:
        raise RuntimeError("no such norm\nin this library")

    found = compare({"broken": broken, "strong": strongest})
    assert found["broken"].error == "RuntimeError: no such norm"  # type: ignore[attr-defined]
    assert found["strong"].error == ""  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError):
        compare({}, native=broken)


def test_inputs_model_and_global_randomness_are_left_as_they_were() -> None:
    def rude(images: Tensor, labels: Tensor) -> Tensor:
        torch.rand(3)
        images.zero_()
        return images

    problem = toy_attack_problem("linf", hardest=0.9)
    before, state = problem.images.clone(), torch.random.get_rng_state()
    model = problem.model.train()
    compare_implementations(
        model, problem.images, problem.labels, threat=problem.threat, native=rude, peers=lambda one: {"rude": rude}
    )
    assert torch.equal(problem.images, before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_installed_libraries_agree_with_our_pgd(norm: str) -> None:
    threat = Threat(norm=norm, epsilon={"linf": 0.15, "l2": 1.0}[norm])  # type: ignore[arg-type]
    model = smooth_toy((1, 8, 8), 3).eval()
    images = KeyedGenerator(0, torch.arange(60)).uniform(1, 8, 8, low=0.2, high=0.8)
    labels = model(images).argmax(dim=1)
    pgd = Pgd(random_start=False)
    report = compare_implementations(
        model,
        images,
        labels,
        threat=threat,
        native=lambda x, y: pgd.perturb(model, x, y, threat=threat, generator=KeyedGenerator(0, torch.arange(len(x)))),
        peers=lambda one: installed_peers(one, AttackSetting(attack="pgd", threat=threat, classes=3)),
    )
    assert "foolbox" in [one.name for one in report.implementations]
    assert 0.05 < report.implementations[0].robust_accuracy < 0.95
    for one in report.implementations:
        assert one.error == ""
        assert one.outside == 0
        assert sum(report.disagreements(one)) <= 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_installed_libraries_agree_with_our_autoattack(norm: str) -> None:
    threat = Threat(norm=norm, epsilon={"linf": 0.15, "l2": 1.0}[norm])  # type: ignore[arg-type]
    model = smooth_toy((1, 8, 8), 3).eval()
    if not installed_peers(model, AttackSetting(attack="autoattack", threat=threat, classes=3)):
        pytest.skip("neither torchattacks nor AutoAttack's authors' package is installed")
    images = KeyedGenerator(0, torch.arange(12)).uniform(1, 8, 8, low=0.2, high=0.8)
    labels = model(images).argmax(dim=1)
    native = AutoAttack()
    report = compare_implementations(
        model,
        images,
        labels,
        threat=threat,
        native=lambda x, y: native.perturb(
            model, x, y, threat=threat, generator=KeyedGenerator(0, torch.arange(len(x)))
        ),
        peers=lambda one: installed_peers(one, AttackSetting(attack="autoattack", threat=threat, classes=3)),
    )
    for one in report.implementations:
        assert (one.error, one.outside) == ("", 0)
        assert sum(report.disagreements(one)) <= 1


def test_output_of_a_library_stays_off_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    def chatty(images: Tensor, labels: Tensor) -> Tensor:
        print("working hard")
        return images

    compare({"chatty": chatty})
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "working hard" in printed.err


def test_l1_has_no_peer() -> None:
    setting = AttackSetting(attack="pgd", threat=Threat(norm="l1", epsilon=1.0), classes=3)
    assert installed_peers(smooth_toy((1, 8, 8), 3), setting) == {}


def test_command_prints_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
    file = tmp_path / "weights.safetensors"
    save_file(model.state_dict(), file)
    arguments = ["parity", "--dataset", "digits", "--architecture", f"{__name__}:linear", "--checkpoint", str(file)]
    arguments += ["--epsilon", "0.05", "--n-test", "20", "--device", "cpu"]
    assert invoke([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    names = [one["name"] for one in document["implementations"]]
    assert names[:2] == ["benchbench", "foolbox"]
    assert document["implementations"][1]["only_it_fools"] == 0
    assert invoke([*arguments, "--norm", "l2"]) == 0
    assert "only benchbench fools" in capsys.readouterr().out


def test_table_is_followed_by_the_examples_in_dispute(
    official: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchbench.cli.parity.NAMED", 2)
    monkeypatch.setattr("benchbench.builtin.attacks.autoattack.standard.AutoAttack.perturb", lambda *a, **k: a[2])
    torch.manual_seed(0)
    file = tmp_path / "weights.safetensors"
    save_file(nn.Sequential(nn.Flatten(), nn.Linear(256, 10)).state_dict(), file)
    arguments = ["parity", "--dataset", "digits", "--architecture", f"{__name__}:linear", "--checkpoint", str(file)]
    arguments += ["--attack", "autoattack", "--epsilon", "0.3", "--n-test", "80", "--device", "cpu"]
    assert invoke([*arguments, "--json"]) == 0
    (theirs,) = [one for one in json.loads(capsys.readouterr().out)["implementations"] if one["name"] == "autoattack"]
    disputed = theirs["disagreeing_examples"]
    assert len(disputed) > 2
    assert invoke(arguments) == 0
    line = (
        f"benchbench and autoattack disagree on test examples {disputed[0]}, {disputed[1]} and {len(disputed) - 2} more"
    )
    assert line in capsys.readouterr().out


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 10))


OFFICIAL = '''
"""Stands in for github.com/fra31/auto-attack at 1b76134: the constructor and the method that it documents, one sign step."""
import torch


class Part:
    n_target_classes = 9


class AutoAttack:
    made = []

    def __init__(self, model, norm="Linf", eps=.3, seed=None, verbose=True, attacks_to_run=[], version="standard",
                 is_tf_model=False, device="cuda", log_path=None):
        assert norm in ["Linf", "L2", "L1"]
        assert isinstance(device, str)
        self.model, self.norm, self.epsilon, self.seed, self.verbose, self.device = model, norm, eps, seed, verbose, device
        self.apgd_targeted, self.fab = Part(), Part()
        AutoAttack.made.append(self)

    def run_standard_evaluation(self, x_orig, y_orig, bs=250, return_labels=False):
        print("using standard version")
        assert bs == len(x_orig)
        with torch.enable_grad():
            leaf = x_orig.clone().requires_grad_(True)
            loss = torch.nn.functional.cross_entropy(self.model(leaf), y_orig, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, leaf)
        x_adv = (x_orig + self.epsilon * gradient.sign()).clamp(0.0, 1.0)
        return (x_adv, self.model(x_adv).argmax(1)) if return_labels else x_adv
'''


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A fake package ``autoattack`` with the import name, class and interface of the authors' package."""
    package = tmp_path / "official" / "autoattack"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .autoattack import AutoAttack\n")
    (package / "autoattack.py").write_text(OFFICIAL)
    monkeypatch.syspath_prepend(package.parent)
    yield importlib.import_module("autoattack").AutoAttack
    for name in [name for name in sys.modules if name.split(".")[0] == "autoattack"]:
        del sys.modules[name]


@pytest.mark.parametrize(("classes", "targets"), [(2, 1), (3, 2), (10, 9), (1000, 9)])
def test_authors_own_autoattack_is_run_as_it_documents(
    official: Any, capsys: pytest.CaptureFixture[str], classes: int, targets: int
) -> None:
    problem = toy_attack_problem("linf", hardest=0.9, classes=classes)
    setting = AttackSetting(attack="autoattack", threat=problem.threat, classes=classes, seed=7)

    def only_the_official(model: nn.Module) -> dict[str, Perturb]:
        return {"autoattack": installed_peers(model, setting)["autoattack"]}

    report = compare_implementations(
        problem.model,
        problem.images,
        problem.labels,
        threat=problem.threat,
        native=lambda images, labels: images,
        peers=only_the_official,
        batch_size=9,
    )
    (_, theirs) = report.implementations
    assert (theirs.name, theirs.error, theirs.outside) == ("autoattack", "", 0)
    assert report.disagreements(theirs) == (0, 8)
    (made,) = official.made
    assert (made.norm, made.epsilon, made.seed, made.verbose, made.device) == ("Linf", 0.05, 7, False, "cpu")
    assert (made.apgd_targeted.n_target_classes, made.fab.n_target_classes) == (targets, targets)
    assert capsys.readouterr().out == ""


def test_authors_own_autoattack_has_a_line_in_the_table(
    official: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    file = tmp_path / "weights.safetensors"
    save_file(nn.Sequential(nn.Flatten(), nn.Linear(256, 10)).state_dict(), file)
    arguments = ["parity", "--dataset", "digits", "--architecture", f"{__name__}:linear", "--checkpoint", str(file)]
    arguments += ["--attack", "autoattack", "--epsilon", "0.02", "--n-test", "3", "--device", "cpu", "--json"]
    assert invoke(arguments) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["implementations"]}
    assert "error" not in found["autoattack"]
    assert {"adv_test_accuracy", "only_benchbench_fools", "disagreeing_examples", "seconds"} <= set(found["autoattack"])
