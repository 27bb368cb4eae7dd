"""A tiny fixed problem in float64, on which rounding of another processor changes no digit that is compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchbench.contract import Examples, KeyedGenerator, Norm, SplitName, Threat, derive_seed

SHAPE, CLASSES, COUNT = (3, 10, 10), 5, 8
EPSILON: dict[Norm, float] = {"linf": 0.04, "l2": 0.45, "l1": 1.5}


def draws(purpose: str, count: int = COUNT) -> KeyedGenerator:
    """Draws that depend on no version of torch."""
    return KeyedGenerator(derive_seed("golden", purpose), torch.arange(count))


class Network(nn.Module):
    """A dense network that is smooth, and whose batch norm shows the mode that it is used in."""

    def __init__(self, bend: Callable[[Tensor], Tensor] = F.softplus) -> None:
        super().__init__()
        self.bend = bend
        self.first = nn.Linear(math.prod(SHAPE), 12, dtype=torch.float64)
        self.normalisation = nn.BatchNorm1d(12, dtype=torch.float64)
        self.last = nn.Linear(12, CLASSES, dtype=torch.float64)
        fill(self, gain=3.0)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.bend(self.normalisation(self.first(images.flatten(1) - 0.5)))
        logits: Tensor = self.last(hidden)
        return logits


@torch.no_grad()
def fill(model: nn.Module, *, gain: float = 1.0) -> None:
    """Give a network weights that are fixed and fit its widths, and a batch norm that has seen data."""
    for number, parameter in enumerate(model.parameters()):
        spread = _spread(parameter.numel(), number).view_as(parameter)
        fan_in = math.prod(parameter.shape[1:])
        parameter.copy_(gain * spread / math.sqrt(fan_in) if parameter.dim() > 1 else 0.5 + 0.3 * spread)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.1 * _spread(buffer.numel(), len(name)))


def _spread(count: int, start: int) -> Tensor:
    """Numbers in [-1, 1) that look random and are exact everywhere: the hash of a place, float64 (count,)."""
    places = torch.arange(count) + 1000 * start
    return ((places * places * 2654435761 + places * 40503) & 0xFFFFFFFF).double() / 2.0**31 - 1.0


def images() -> Tensor:
    """Images (8, 3, 10, 10) that touch the box here and there."""
    return draws("images").uniform(*SHAPE, low=-0.1, high=1.1).clamp(0.0, 1.0).double()


def labels() -> Tensor:
    """What the network says, but for the last image."""
    with torch.no_grad():
        predicted = Network().eval()(images()).argmax(dim=1)
    predicted[-1] = (predicted[-1] + 1) % CLASSES
    return predicted


def projected(value: Tensor, purpose: str = "projection") -> list[float]:
    """Two inner products per example with fixed vectors: a fingerprint of a tensor (N, ...)."""
    flat = value.detach().double().flatten(1)
    vectors = draws(purpose, 2).normal(flat.shape[1]).double()
    return [float(number) for number in (flat @ vectors.T).flatten()]


@dataclass(frozen=True, kw_only=True)
class ImageEvidence:
    """What a metric asks, about the network."""

    model: nn.Module
    threat: Threat

    def examples(self, split: SplitName) -> Examples:
        """The images, fewer of them for testing."""
        kept = COUNT if split == "train" else COUNT - 3
        return Examples(inputs=images()[:kept], labels=labels()[:kept])

    def correct(self, split: SplitName) -> Tensor:
        """All but every third."""
        return torch.arange(len(self.examples(split))) % 3 != 1

    def robust(self, split: SplitName) -> Tensor:
        """One in four."""
        return torch.arange(len(self.examples(split))) % 4 == 0

    def batches(self, split: SplitName, purpose: str) -> Iterable[tuple[Tensor, Tensor, KeyedGenerator]]:
        """All in one batch."""
        examples = self.examples(split)
        yield examples.inputs, examples.labels, draws(purpose, len(examples))


@dataclass(frozen=True, kw_only=True)
class RegressionEvidence:
    """What a metric for regression asks, about any function."""

    model: nn.Module
    threat: Threat

    def examples(self, split: SplitName) -> Examples:
        """Positions around the stairs, and targets."""
        kept = COUNT if split == "train" else COUNT - 3
        inputs = draws("positions").uniform(1, high=9.0).double()[:kept]
        return Examples(inputs=inputs, labels=inputs[:, 0].round() + 0.1)

    def candidates(self, split: SplitName) -> Tensor:
        """All of them a little to the right."""
        return self.examples(split).inputs + 0.2
