"""Models as robust as PGD-10 says, within a few points: none of them should be flagged."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchbench.builtin.datasets.spiral import Spiral
from benchbench.builtin.defenses.distance import Distance
from benchbench.contract import DatasetSplits, Examples, KeyedGenerator, Threat
from benchbench.settings import find_folders
from benchmarks.zoo.case import Case, Entry, Half
from benchmarks.zoo.layers import After, Before, band, smooth
from benchmarks.zoo.training import THREAT, digits, digits_of, trained

L2 = Threat(norm="l2", epsilon=0.4)
WIDE, NARROW = Threat(epsilon=0.2), Threat(epsilon=0.03)
PLANE = Threat(epsilon=0.3, lower=float("-inf"), upper=float("inf"))


def on_digits(model: nn.Module, *, classes: int = 10, threat: Threat = THREAT) -> Case:
    """A case on digits."""
    splits = digits_of(classes)
    return Case(model=model, train=splits.train, test=splits.test, classes=classes, threat=threat)


def honest(name: str, half: Half, make: Callable[[], Case], mechanism: str = "", *, random: bool = False) -> Entry:
    """An honest entry."""
    return Entry(name=name, half=half, planted=False, mechanism=mechanism or name, make=make, random=random)


def normalised() -> nn.Module:
    """The mean is subtracted inside, and the weights compensate for it: the same function."""
    return Before(trained("at"), lambda images: ((images - 0.3) / 0.25) * 0.25 + 0.3)


def certified_line(classes: int = 10) -> Case:
    """A linear model on two blobs far apart; exactly robust."""
    labels = torch.arange(400) % classes
    centres = 0.5 + 0.3 * KeyedGenerator(5, torch.arange(classes)).uniform(1, 8, 8, low=-1.0).sign()
    noise = KeyedGenerator(6, torch.arange(400)).uniform(1, 8, 8, low=-0.1, high=0.1)
    inputs = ((centres[labels] + noise) * 255).round().to(torch.uint8)
    line = nn.Linear(64, classes)
    with torch.no_grad():
        line.weight.copy_(centres.flatten(1) - 0.5)
        line.bias.copy_(-0.5 * (centres - 0.5).flatten(1).square().sum(1) - 0.5 * (centres.flatten(1) - 0.5).sum(1))
    model = nn.Sequential(nn.Flatten(), line).requires_grad_(False)
    train, test = (Examples(inputs=inputs[part], labels=labels[part]) for part in (slice(200), slice(200, 400)))
    return Case(model=model, train=train, test=test, classes=classes, threat=THREAT)


def fitted_distance(splits: DatasetSplits, threat: Threat) -> nn.Module:
    """The distance classifier of Theorem 4.2."""
    return Distance().fit(
        nn.Flatten(),
        splits.train,
        classes=len(splits.classes),
        threat=threat,
        generator=KeyedGenerator(0, torch.arange(len(splits.train))),
    )


def spiral(n_train: int) -> Case:
    """The distance classifier on the spiral, astute by the theorem."""
    splits = Spiral(start=1.0, n_train=n_train).load(find_folders().source())
    model = fitted_distance(splits, PLANE)
    return Case(model=model, train=splits.train, test=splits.test, classes=2, threat=PLANE)


def separated() -> Case:
    """The distance classifier on blobs in 64 dimensions, over twice the radius apart."""
    blobs = certified_line(4)
    splits = DatasetSplits(train=blobs.train, test=blobs.test, classes=("0", "1", "2", "3"))
    model = fitted_distance(splits, THREAT)
    return Case(model=model, train=blobs.train, test=blobs.test, classes=4, threat=THREAT)


def scaled(factor: float) -> Callable[[Tensor], Tensor]:
    """Logits times a factor."""
    return lambda logits: factor * logits


HONEST = (
    honest("natural-mlp", "tuning", lambda: on_digits(trained())),
    honest("at-mlp", "tuning", lambda: on_digits(trained("at"))),
    honest("trades-mlp", "tuning", lambda: on_digits(trained("trades"))),
    honest("at-cnn", "tuning", lambda: on_digits(trained("at", "cnn"))),
    honest("blobs-linear", "tuning", certified_line, "a linear model that is robust on every example"),
    honest("normalised", "tuning", lambda: on_digits(normalised()), "normalisation inside"),
    honest("logits-times-0.2", "tuning", lambda: on_digits(After(trained("at"), scaled(0.2)))),
    honest("natural-l2", "tuning", lambda: on_digits(trained(), threat=L2)),
    honest("two-classes", "tuning", lambda: on_digits(trained("at", "mlp", 0, 2), classes=2)),
    honest("spiral", "tuning", lambda: spiral(1000), "robust by Theorem 4.2"),
    honest("batch-norm", "tuning", lambda: on_digits(trained("natural", "bn"))),
    honest("natural-narrow", "tuning", lambda: on_digits(trained(), threat=NARROW), "most withstand"),
    honest("at-mlp-2", "held-out", lambda: on_digits(trained("at", "mlp", 7))),
    honest("natural-cnn", "held-out", lambda: on_digits(trained("natural", "cnn", 7))),
    honest("trades-cnn", "held-out", lambda: on_digits(trained("trades", "cnn", 7))),
    honest("dropout", "held-out", lambda: on_digits(trained("at", "dropout", 7))),
    honest("at-batch-norm", "held-out", lambda: on_digits(trained("at", "bn", 7))),
    honest("logits-times-5", "held-out", lambda: on_digits(After(trained("at", "mlp", 7), scaled(5.0)))),
    honest("at-l2", "held-out", lambda: on_digits(trained("at", "cnn", 7, threat=L2), threat=L2)),
    honest("three-classes", "held-out", lambda: on_digits(trained("at", "mlp", 7, 3), classes=3)),
    honest("four-classes", "held-out", lambda: on_digits(trained("natural", "cnn", 7, 4), classes=4)),
    honest("spiral-2", "held-out", lambda: spiral(700), "robust by Theorem 4.2"),
    honest("separated-distance", "held-out", separated, "robust by Theorem 4.2"),
    honest(
        "band", "held-out", lambda: on_digits(Before(trained("natural", "mlp", 7), band)), "no gradient, and no effect"
    ),
    honest("smoothed-inputs", "held-out", lambda: on_digits(Before(trained("at", "mlp", 7), smooth))),
    honest("at-wide", "held-out", lambda: on_digits(trained("at", "cnn", 7, threat=WIDE), threat=WIDE)),
)

__all__ = ["HONEST", "digits", "fitted_distance", "on_digits"]
