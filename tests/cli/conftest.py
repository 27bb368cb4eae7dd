"""What the tests of the commands share: small suites, planted plugins, and running commands in process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchbench.cli import invoke
from benchbench.contract import BatchLoss, KeyedGenerator, Offer, Threat, hookimpl

SUITE = """
name = "tiny"
protocol = "tiny-1"

[profiles.paper]
[profiles.quick]

[[experiments]]
name = "digits"
dataset = {{ name = "digits", scale = 1 }}
architectures = [{{ name = "mlp", hidden = [8] }}]
defenses = {defenses}
attacks = {attacks}
metrics = ["accuracy", "adversarial-accuracy", "gaps"]
threat = {{ norm = "linf", epsilon = {epsilon} }}
recipe = {{ optimizer = "sgd", learning_rate = {learning_rate}, momentum = 0.9, batch_size = {batch_size}, epochs = {epochs} }}
n_train = 64
n_train_evaluated = 32
n_test = 32
"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command said."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.out)


Command = Callable[..., Answer]
WriteSuite = Callable[..., Path]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Default leaderboards go to ./leaderboards: that is below the test's folder; nobody's data root is seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCHBENCH_DATA", raising=False)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in process."""

    def run(*arguments: str | Path) -> Answer:
        capsys.readouterr()
        status = invoke([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Answer(status=status, out=said.out, err=said.err)

    return run


@pytest.fixture
def write_suite(tmp_path: Path) -> WriteSuite:
    """Write a suite of digits with other entries as given."""

    def write(file: str = "tiny.toml", text: str = SUITE, **entries: Any) -> Path:
        defaults = {
            "defenses": ["natural"],
            "attacks": ["pgd-10"],
            "epsilon": 0.1,
            "learning_rate": 0.001,
            "batch_size": 64,
            "epochs": 1,
        }
        values = {key: _toml(value) for key, value in {**defaults, **entries}.items()}
        path = tmp_path / file
        path.write_text(text.format(**values), encoding="utf-8")
        return path

    return write


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value)


def leaderboard(folder: Path, suite: str = "tiny") -> bytes:
    """The bytes of a leaderboard."""
    return (folder / "leaderboards" / f"{suite}.parquet").read_bytes()


@dataclass
class Fault:
    """What the planted plugin does wrong at present."""

    now: str = ""


@pytest.fixture
def fault(plant: Callable[[object], None]) -> Fault:
    """Plant a plugin: defense ``planted``, attack ``planted`` and architecture ``planted``, which fail as `Fault.now` says."""
    planted = Fault()
    plant(PlantedPlugin(planted))
    return planted


class PlantedPlugin:
    """Offers what fails."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    @hookimpl
    def benchbench_defenses(self) -> tuple[Offer, ...]:
        """A defense."""
        return (Offer(name="planted", summary="fails on request", factory=partial(PlantedDefense, self._fault)),)

    @hookimpl
    def benchbench_attacks(self) -> tuple[Offer, ...]:
        """An attack."""
        return (Offer(name="planted", summary="fails on request", factory=partial(PlantedAttack, self._fault)),)


class PlantedDefense:
    """Natural training that can fail."""

    def __init__(self, fault: Fault, /) -> None:
        self.fault = fault

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The loss of one batch, or trouble."""
        if self.fault.now == "crash":
            raise ZeroDivisionError("planted\ncrash")
        if self.fault.now == "interrupt" and len(images) == 64:  # not yet when the passes are counted
            raise KeyboardInterrupt
        if self.fault.now == "no loss":
            return None  # type: ignore[return-value]
        logits = model(images)
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
        if self.fault.now == "NaN weights":
            loss = loss * torch.tensor(1e30)
        return BatchLoss(loss=loss * float("nan") if self.fault.now == "diverge" else loss, logits=logits)


class PlantedAttack:
    """No attack at all, or one that leaves the ball."""

    def __init__(self, fault: Fault, /) -> None:
        self.fault = fault

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """The images as they are, or the other end of the box."""
        return 1.0 - images if self.fault.now == "leave the ball" else images
