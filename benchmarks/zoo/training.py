"""Small networks for scikit-learn's digits, 8x8, trained once in a process."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchbench.builtin.datasets.digits import Digits
from benchbench.builtin.defenses.adversarial import AdversarialTraining
from benchbench.builtin.defenses.gradient_regularisation import GradientRegularisation
from benchbench.builtin.defenses.natural import Natural
from benchbench.builtin.defenses.trades import Trades
from benchbench.contract import BatchLoss, DatasetSplits, Defense, Examples, KeyedGenerator, Threat
from benchbench.settings import find_folders

THREAT = Threat(epsilon=0.1)
DEFENSES: dict[str, Callable[[], Defense]] = {
    "natural": Natural,
    "at": AdversarialTraining,
    "trades": lambda: Trades(beta=3.0),
    "gr": GradientRegularisation,
}
EPOCHS, BATCH, LEARNING_RATE = 12, 64, 2e-3


@functools.cache
def digits() -> DatasetSplits:
    """The 8x8 digits."""
    return Digits(scale=1).load(find_folders().source())


@functools.cache
def digits_of(classes: int) -> DatasetSplits:
    """Only the digits below `classes`."""
    whole = digits()
    parts = [
        Examples(inputs=part.inputs[part.labels < classes], labels=part.labels[part.labels < classes])
        for part in (whole.train, whole.test)
    ]
    return DatasetSplits(train=parts[0], test=parts[1], classes=whole.classes[:classes])


def mlp(classes: int = 10, hidden: int = 128, features: int = 64) -> nn.Module:
    """Two hidden layers."""
    layers = [nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes)]
    return nn.Sequential(nn.Flatten(), *layers)


def cnn(classes: int = 10, *, norm: bool = False, dropout: float = 0.0) -> nn.Module:
    """Two convolutions for 8x8 images."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(dropout), nn.Linear(512, classes))


@functools.cache
def trained(
    defense: str = "natural", shape: str = "mlp", seed: int = 0, classes: int = 10, threat: Threat = THREAT
) -> nn.Module:
    """A trained network in evaluation mode; the same object for the same arguments."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = {
            "mlp": lambda: mlp(classes),
            "cnn": lambda: cnn(classes),
            "bn": lambda: cnn(classes, norm=True),
            "dropout": lambda: cnn(classes, dropout=0.5),
            "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, classes)),
        }[shape]()
        return fit(model, digits_of(classes).train, DEFENSES[defense](), threat=threat, seed=seed)


def fit(
    model: nn.Module, examples: Examples, defense: Defense, *, threat: Threat, seed: int = 0, epochs: int = EPOCHS
) -> nn.Module:
    """Train with Adam, the last quarter at a tenth of the rate; freeze, set evaluation mode."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    inputs = examples.inputs.float() / 255 if examples.inputs.dtype == torch.uint8 else examples.inputs
    for epoch in range(epochs):
        if epoch == epochs - epochs // 4:
            optimizer.param_groups[0]["lr"] = LEARNING_RATE / 10
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(1000 * seed + epoch))
        for rows in order.split(BATCH):
            optimizer.zero_grad()
            draws = KeyedGenerator(1000 * seed + epoch, rows)
            loss = defense.loss(model.train(), inputs[rows], examples.labels[rows], threat=threat, generator=draws).loss
            torch.autograd.backward(loss / len(rows))
            optimizer.step()
    return model.eval().requires_grad_(False)


class AtTemperature:
    """Cross-entropy of logits / temperature: defensive distillation (Papernot et al., 2016)."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """See `benchbench.contract.Defense`."""
        return BatchLoss(loss=cross_entropy(model(images) / self.temperature, labels, reduction="sum"))
