"""As a new user: train a CNN in plain torch, record it, compare it with a defense's row, verify, pack, check and merge it."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SHARED_DATA
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import benchbench
from benchbench.cli import invoke
from benchbench.contract import DatasetSplits
from benchbench.data import load_dataset, subset
from benchbench.own_model.architectures import find_callable
from benchbench.registry import load_registry
from benchbench.settings import find_folders

FOLDER = "cifar10-jpeg"
CIFAR = f'{{name = "parquet-images", path = "{FOLDER}"}}'
RADIUS, TESTED = "1/255", 100
NETWORK = """
import torch
from torch import nn


class SmallVGG(nn.Module):
    def __init__(self, num_classes=1000):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(4)
        self.classifier = nn.Linear(512, num_classes)
        self.register_buffer("mean", torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.2470, 0.2435, 0.2616]).view(1, 3, 1, 1))

    def forward(self, x):
        x = self.avgpool(self.features((x - self.mean) / self.std))
        return self.classifier(torch.flatten(x, 1))


def small_vgg(classes):
    return SmallVGG(num_classes=classes)
"""
SUITE = f"""
name = "defended"
protocol = "defended-1"

[[experiments]]
name = "cifar"
dataset = {CIFAR}
architectures = ["cnn2"]
defenses = ["at"]
attacks = [{{ name = "pgd", random_start = false }}]
metrics = ["accuracy", "adversarial-accuracy"]
threat = {{ norm = "linf", epsilon = "{RADIUS}" }}
recipe = {{ optimizer = "adam", learning_rate = 0.001, batch_size = 50, epochs = 1 }}
n_train = 500
n_train_evaluated = 50
n_test = {TESTED}
"""


def train(model: nn.Module, splits: DatasetSplits) -> None:
    """A usual training loop, on 2,000 images."""
    images, labels = splits.train.inputs[:2000].float() / 255, splits.train.labels[:2000]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.train()
    for _ in range(4):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()


def command(*arguments: object, status: int = 0) -> None:
    assert invoke(list(map(str, arguments))) == status, arguments


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not os.environ.get("BENCHBENCH_EXHAUSTIVE"), reason="takes a minute: BENCHBENCH_EXHAUSTIVE=1")
def test_model_of_a_newcomer_goes_all_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(os.environ.get("BENCHBENCH_DATA") or SHARED_DATA)
    if not (data / FOLDER).is_dir():
        pytest.skip(f"no {FOLDER}: set BENCHBENCH_DATA to a folder that holds it")
    monkeypatch.setenv("BENCHBENCH_DATA", str(data))
    monkeypatch.chdir(tmp_path)
    registry = load_registry()
    component = registry.resolve("dataset", "parquet-images", {"path": FOLDER})
    splits = load_dataset(registry, component, find_folders().source()).splits
    (tmp_path / "vgg.py").write_text(NETWORK)
    model = find_callable("vgg.py:small_vgg").make({}, {"classes": 10})
    train(model, splits)
    torch.save(
        {"epoch": 4, "model": {f"module.{name}": value for name, value in model.state_dict().items()}}, "best.pth"
    )
    (tmp_path / "suite.toml").write_text(SUITE)

    own = ("--dataset", CIFAR, "--architecture", "vgg.py:small_vgg", "--checkpoint", "best.pth", "--n-test", TESTED)
    attack = '{name = "pgd", random_start = false}'
    command(
        "evaluate",
        *own,
        "--attack",
        attack,
        "--epsilon",
        RADIUS,
        "--epsilon",
        "2/255",
        "--record",
        "mine",
        "--device",
        "cpu",
    )
    command("run", "suite.toml", "--device", "cpu", "--jobs", 1, "--quiet")
    command("table", "mine")
    capsys.readouterr()
    command("compare", "suite=mine,epsilon=1/255", "suite=defended", "--json")
    compared = json.loads(capsys.readouterr().out)["differences"]
    assert {one["measure"] for one in compared} == {"test_accuracy", "adv_test_accuracy"}
    assert {one["n"] for one in compared} == {TESTED}
    command("verify", "leaderboards/mine.parquet", "--architecture", "vgg.py:small_vgg", "--device", "cpu", "--seed", 1)
    command("leaderboard", "pack", "leaderboards/mine.parquet", "--weights", "--out", "mine.zip")

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("BENCHBENCH_HOME", str(tmp_path / "elsewhere" / "home"))
    command("leaderboard", "check", "../mine.zip", "--architecture", "../vgg.py:small_vgg", "--seed", 1)
    third = ("--attack", attack, "--epsilon", "4/255", "--record", "mine", "--device", "cpu")
    command(
        "evaluate", *own[:2], "--architecture", "../vgg.py:small_vgg", "--checkpoint", "../best.pth", *own[6:], *third
    )
    command(
        "leaderboard", "merge", "leaderboards/mine.parquet", "../leaderboards/mine.parquet", "--out", "mine.parquet"
    )
    merged = benchbench.read_leaderboard("mine.parquet").to_pylist()
    assert (len(merged), len({row["model_id"] for row in merged})) == (3, 1)
    rows = {row["epsilon"]: row for row in merged}
    print({epsilon: (row["test_accuracy"], row["adv_test_accuracy"]) for epsilon, row in rows.items()})
    if importlib.util.find_spec("torchattacks") is None:
        pytest.skip("all but the comparison with torchattacks, which is not installed")
    test = subset(splits.test, TESTED, "test")
    for epsilon, row in rows.items():
        robust = withstand_torchattacks(model, test.examples.inputs.float() / 255, test.examples.labels, epsilon)
        assert abs(robust - row["adv_test_accuracy"]) <= 0.01


def withstand_torchattacks(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> float:
    """The share of examples that withstand torchattacks' PGD from the image, of ten steps."""
    torchattacks: Any = importlib.import_module("torchattacks")
    attack = torchattacks.PGD(model.eval(), eps=epsilon, alpha=epsilon / 5, steps=10, random_start=False)
    adversarial = attack(images, labels)
    with torch.no_grad():
        right = (model(images).argmax(dim=1) == labels) & (model(adversarial).argmax(dim=1) == labels)
    return float(right.double().mean())
