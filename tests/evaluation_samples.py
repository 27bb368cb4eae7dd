"""An evaluation that takes no time, for tests, and plugins that misbehave in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchbench.builtin.attacks.pgd import Pgd
from benchbench.builtin.metrics.accuracy import Accuracy, AdversarialAccuracy, Gaps
from benchbench.contract import Evidence, Examples, KeyedGenerator, Measurement, Threat
from benchbench.evaluation import Outcome, evaluate
from benchbench.testing.toys import smooth_toy

CLASSES = 4
THREAT = Threat(epsilon=0.1)


def examples(count: int, purpose: int) -> Examples:
    """Images with the classes that the network predicts; each seventh is another one."""
    pixels = KeyedGenerator(purpose, torch.arange(count)).integers(256)
    draws = KeyedGenerator(purpose + 1, torch.arange(count)).uniform(1, 6, 6) * 200 + pixels[:, None, None, None] % 56
    inputs = draws.to(torch.uint8)
    labels = network()(inputs.float() / 255).argmax(dim=1)
    labels[::7] = (labels[::7] + 1) % CLASSES
    return Examples(inputs=inputs, labels=labels)


def network() -> nn.Module:
    """A smooth network that predicts all classes."""
    model = smooth_toy((1, 6, 6), CLASSES)
    last = model[-1]  # type: ignore[index]
    with torch.no_grad():
        last.weight.mul_(8.0)
        mean = model(KeyedGenerator(0, torch.arange(200)).uniform(1, 6, 6)).mean(dim=0)
        last.bias.sub_(mean)
    return model


def run(**changes: Any) -> Outcome:
    """Evaluate the network, with some arguments changed."""
    train, test = examples(30, 10), examples(40, 20)
    settings: dict[str, Any] = {
        "train": train,
        "test": test,
        "train_rows": torch.arange(30) + 1000,
        "test_rows": torch.arange(40) * 3,
        "classes": CLASSES,
        "threat": THREAT,
        "attack": Pgd(),
        "attack_name": "pgd-10",
        "metrics": {"accuracy": Accuracy(), "adversarial-accuracy": AdversarialAccuracy(), "gaps": Gaps()},
        "seed": 0,
        "device": torch.device("cpu"),
    }
    settings.update(changes)
    model = settings.pop("model", None) or network()
    return evaluate(model, **settings)


@dataclass
class Shelf:
    """A cache in memory."""

    parts: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def get(self, key: str) -> dict[str, Tensor] | None:
        return self.parts.get(key)

    def put(self, key: str, value: dict[str, Tensor]) -> None:
        self.parts[key] = value


@dataclass
class Planted:
    """An attack that misbehaves: it does PGD's job, then the deed."""

    deed: Callable[[nn.Module, Tensor, Tensor], Any]

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Any:
        return self.deed(model, images, images.clone())


@dataclass
class Says:
    """A metric that returns what it is told."""

    answer: Any

    def measure(self, evidence: Evidence) -> Measurement:
        return self.answer  # type: ignore[no-any-return]
